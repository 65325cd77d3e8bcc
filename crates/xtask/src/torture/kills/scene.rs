//! What is played between two counts of what is in use: one channel, who survives on it, who is killed.
//!
//! A scene is a function of (seed, number), so that every process of a mesh knows it without being told, and it can be had
//! again.

use staffetta::{
    BroadcastBuilder, ChannelBuilder, Domain, LatestBuilder, Method, Overflow, SlowReceiver, Wait,
};

use super::super::random::Random;

/// What kind of channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavor {
    Rendezvous,
    Basic,
    Buffered,
    Bounded,
    ManyToOne,
    WorkQueue,
    DropOldest,
    DropNewest,
    Broadcast,
    BroadcastDropOldest,
    BroadcastDisconnect,
    Latest,
    Service,
    /// Channels without names, whose ends travel in parcels.
    Enclosed,
}

use Flavor::*;

/// What travels, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cargo {
    Value,
    Large,
    /// Built in its slot, read in its slot.
    InPlace,
    Parcel,
    Slice,
    /// From private memory to private memory.
    Lent,
    Variable,
}

/// How an end is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    Blocking,
    Try,
    Timeout,
    Select,
}

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Victims {
    /// Senders; clients.
    Senders,
    /// Receivers; servers.
    Receivers,
}

/// One scene.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    pub number: u64,
    pub flavor: Flavor,
    pub cargo: Cargo,
    pub method: Method,
    pub wait: Wait,
    pub degree: u64,
    pub victims: Victims,
    /// Both sides have a survivor, so the channel goes on when a victim dies. Otherwise the victim is the only one on its side.
    pub crowd: bool,
    pub survivor_style: Style,
    pub victim_style: Style,
    /// Senders pause now and then, so that receivers sleep.
    pub paced: bool,
    pub kills: u64,
}

/// All that can be combined: flavor, cargo, who is killed, and whether both sides survive.
fn combinations() -> Vec<(Flavor, Cargo, Victims, bool)> {
    let mut all = Vec::new();
    let mut add = |flavor: Flavor, cargos: &[Cargo], crowds: &[bool]| {
        for &cargo in cargos {
            for victims in [Victims::Senders, Victims::Receivers] {
                all.extend(crowds.iter().map(|&crowd| (flavor, cargo, victims, crowd)));
            }
        }
    };
    use Cargo::*;
    add(Rendezvous, &[Value, Large, Parcel, Slice, Lent, Variable], &[false]);
    add(Basic, &[Value, Large, Parcel], &[false]);
    add(Buffered, &[Value, InPlace, Parcel], &[false]);
    for flavor in [Bounded, ManyToOne, WorkQueue] {
        add(flavor, &[Value, Large, InPlace, Parcel], &[false]);
    }
    add(Bounded, &[Value, InPlace, Parcel], &[true]);
    add(DropOldest, &[Value, Parcel], &[true]);
    add(DropNewest, &[Value, Parcel], &[true]);
    add(Service, &[Value, Large], &[false, true]);
    // Each only where there may be another one on the victims' side.
    all.extend([Value, InPlace, Parcel].map(|cargo| (ManyToOne, cargo, Victims::Senders, true)));
    all.extend([Value, InPlace, Parcel].map(|cargo| (WorkQueue, cargo, Victims::Receivers, true)));
    for flavor in [Broadcast, BroadcastDropOldest, BroadcastDisconnect, Latest] {
        for cargo in [Value, InPlace] {
            all.push((flavor, cargo, Victims::Senders, false));
            all.push((flavor, cargo, Victims::Receivers, true));
        }
    }
    all.extend([(Enclosed, Parcel, Victims::Senders, true); 4]);
    all
}

/// The scene of a mesh. `addresses_differ`: its processes map the domain at different places.
pub fn scene(seed: u64, number: u64, addresses_differ: bool) -> Scene {
    let all = combinations();
    // Each once before any comes twice, in an order that the seed says.
    let (round, place) = (number / all.len() as u64, (number % all.len() as u64) as usize);
    let mut random = Random::new(seed ^ round.wrapping_mul(0x51_7cc1_b727_220a));
    let mut order: Vec<usize> = (0..all.len()).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, random.below(i as u64 + 1) as usize);
    }
    let (flavor, cargo, victims, crowd) = all[order[place]];
    let mut random = Random::new(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9)));
    let mut one_of = |n: usize| random.below(n as u64) as usize;
    let styles = [Style::Blocking, Style::Blocking, Style::Try, Style::Timeout, Style::Select];
    let mut method = Method::ALL[one_of(3)];
    if addresses_differ && method == Method::Coinciding {
        method = Method::Distinct;
    }
    let (survivor_style, mut victim_style) = (styles[one_of(styles.len())], styles[one_of(styles.len())]);
    if survivor_style == Style::Try && victim_style == Style::Try {
        victim_style = Style::Timeout; // Without a buffer those two never meet.
    }
    // Spinning processes hold up each other where there are more of them than cores.
    let waits = [Wait::Park, Wait::Park, Wait::SpinThenPark, Wait::SpinThenPark, Wait::Spin];
    Scene {
        number,
        flavor,
        cargo,
        method,
        wait: waits[one_of(waits.len())],
        degree: 1 + one_of(5) as u64,
        victims,
        crowd,
        survivor_style,
        victim_style,
        paced: one_of(2) == 0,
        kills: 6 + one_of(10) as u64,
    }
}

impl Scene {
    /// The name of its channel in the domain of its mesh.
    pub fn channel(&self) -> String {
        format!("scene-{}", self.number)
    }

    /// Its channel, for one sender or one receiver of each message.
    pub fn builder<'d>(&self, domain: &'d Domain, name: &'d str) -> ChannelBuilder<'d> {
        let channel = domain.channel(name).method(self.method).wait(self.wait);
        let k = self.degree;
        match self.flavor {
            Basic => channel.basic(k),
            Buffered => channel.buffered(k),
            Bounded => channel.bounded(k).senders(4).receivers(4),
            ManyToOne => channel.many_to_one(k).senders(4),
            WorkQueue => channel.work_queue(k).receivers(4),
            DropOldest => channel.bounded(k).senders(4).receivers(4).overflow(Overflow::DropOldest),
            DropNewest => channel.bounded(k).senders(4).receivers(4).overflow(Overflow::DropNewest),
            Service => channel.service(k).clients(4).servers(if self.crowd { 4 } else { 1 }),
            _ => channel.rendezvous(),
        }
    }

    /// Its channel, if it is a broadcast.
    pub fn broadcast<'d>(&self, domain: &'d Domain, name: &'d str) -> BroadcastBuilder<'d> {
        let slow = match self.flavor {
            BroadcastDropOldest => SlowReceiver::DropOldest,
            BroadcastDisconnect => SlowReceiver::Disconnect,
            _ => SlowReceiver::Block,
        };
        let channel = domain.channel(name).method(self.method).wait(self.wait);
        channel.broadcast(self.degree).slow_receiver(slow).receivers(4)
    }

    /// Its channel, if it is of the latest value.
    pub fn latest<'d>(&self, domain: &'d Domain, name: &'d str) -> LatestBuilder<'d> {
        domain.channel(name).method(self.method).wait(self.wait).latest().receivers(4)
    }

    /// Each message goes to all receivers.
    pub fn is_to_all(&self) -> bool {
        matches!(self.flavor, Broadcast | BroadcastDropOldest | BroadcastDisconnect | Latest)
    }

    /// The survivor that receives for the comparison where all receive.
    pub fn listener(&self) -> usize {
        usize::from(self.victims == Victims::Receivers)
    }

    /// A survivor is told of each death of its only peer: not if it makes no call then, and not if it came after.
    pub fn tells(&self) -> bool {
        match self.flavor {
            Service => self.victims == Victims::Senders,
            other => other != BroadcastDisconnect,
        }
    }

    /// Both survivors go on when a third process is stopped: it is not waited for, and what it has in hand is nobody else's.
    pub fn goes_on_beside_a_stopped_one(&self) -> bool {
        let has_calls = self.flavor == Service && !matches!(self.survivor_style, Style::Timeout | Style::Try);
        self.crowd && self.flavor != Broadcast && !has_calls
    }

    /// What a receiver had in hand that was killed comes again to another one, which may have had later ones.
    pub fn may_reorder(&self) -> bool {
        self.crowd && self.victims == Victims::Receivers && !self.is_to_all()
    }

    /// The last letter that was sent comes for certain.
    pub fn brings_the_last(&self) -> bool {
        !self.drops() && !matches!(self.flavor, BroadcastDisconnect | Service)
    }

    /// A message for which there is no room is dropped, and counted.
    pub fn drops(&self) -> bool {
        matches!(self.flavor, DropOldest | DropNewest)
    }
}
