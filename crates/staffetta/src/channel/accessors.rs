//! What both ends can be asked, whatever they carry: how they wait, their counters, the descriptor, the peer.
//!
//! A macro, so that each is written once, and in the documentation is a method of
//! [`Sender`](super::sender::Sender) and of [`Receiver`](super::receiver::Receiver) all the same. Nothing
//! here sends, receives or waits.

/// The methods of the end `$end`, whose other end is called `$other`; or of any `impl` that has an `end`.
macro_rules! accessors {
    ($end:ident, $other:literal) => {
        accessors!($other, impl<T: $crate::Carried + ?Sized> $end<T>);
    };
    ($other:literal, $($head:tt)+) => {
        $($head)+ {
            /// How this end waits.
            pub fn wait(&self) -> $crate::Wait {
                self.end.wait_policy()
            }

            /// Changes how this end waits.
            pub fn set_wait(&self, wait: $crate::Wait) {
                self.end.set_wait(wait);
            }

            /// The counters of this side; zero in a forked child.
            pub fn counters(&self) -> $crate::SideCounters {
                if self.end.member.here() {
                    self.end.tally().read()
                } else {
                    $crate::SideCounters::default()
                }
            }

            /// The counters of both sides: of all senders together, and of all receivers; zero in a forked child.
            pub fn channel_counters(&self) -> ($crate::SideCounters, $crate::SideCounters) {
                if self.end.member.here() {
                    self.end.channel_counters()
                } else {
                    Default::default()
                }
            }

            /// The channel's descriptor now, for people; `None` for a channel with a buffer, which has slots instead.
            pub fn descriptor(&self) -> Option<$crate::DescriptorView> {
                let rendezvous = self.end.member.here() && self.end.spec().kind == $crate::Kind::Rendezvous;
                rendezvous.then(|| $crate::DescriptorView::of(self.end.record()))
            }

            /// Another end of the same kind and channel, for another thread; of a channel that may have several.
            ///
            /// # Errors
            /// [`AttachError`](crate::AttachError): the channel has as many as it may.
            pub fn try_clone(&self) -> Result<Self, $crate::AttachError> {
                self.end.another().map(Self::new)
            }

            /// What a death means to this channel.
            pub fn continuation(&self) -> $crate::Continuation {
                self.end.spec().continuation
            }

            /// How many messages of this channel dead receivers had in hand that nobody gets: parcels that were freed with
            /// them, or that they had begun to change; 0 in a forked child. A sweeper that dies between freeing one and counting it
            /// leaves it uncounted; values that were copied out, and guards, which come to the next receiver, are not meant.
            pub fn lost(&self) -> u64 {
                if self.end.member.here() {
                    self.end.record().lost.load(std::sync::atomic::Ordering::Relaxed)
                } else {
                    0
                }
            }

            /// How many messages wait: sent, and not taken yet; 0 in a forked child.
            pub fn len(&self) -> u64 {
                if self.end.member.here() {
                    self.end.waiting()
                } else {
                    0
                }
            }

            /// Does no message wait?
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The asynchrony degree; 0 of a rendezvous. Of a [`many_to_one`](crate::ChannelBuilder::many_to_one) it is each
            /// sender's.
            pub fn degree(&self) -> u64 {
                self.end.spec().degree
            }

            #[doc = concat!("Does anybody hold the ", $other, " end?")]
            pub fn has_peer(&self) -> bool {
                self.end.member.here() && self.end.peer().state() == $crate::channel::side::ATTACHED
            }
        }
    };
}

pub(super) use accessors;
