//! What a program says of a service before it attaches a client or a server.

use super::ChannelBuilder;
use crate::channel::attach::{find_or_make, Found};
use crate::channel::form::Form;
use crate::channel::reply::{Client, Server};
use crate::channel::spec::Kind;
use crate::error::AttachError;
use crate::Message;

impl ChannelBuilder<'_> {
    /// Request-reply: clients call, a server answers; `calls` calls of each client may be under way, from 1 to 32.
    ///
    /// Attach the ends with [`client`](Self::client) and [`server`](Self::server). There may be 64 clients and one server, unless
    /// [`clients`](Self::clients) and [`servers`](Self::servers) say otherwise. One server is quicker: it need not say
    /// which requests it took. Of several each request goes to one.
    ///
    /// A request is built in a slot of its client's, is read there by the server, and its reply comes back in the same slot.
    /// If a server dies or leaves with requests in hand their clients are told ([`CallFailure`](crate::CallFailure)): a
    /// request that killed one server is not given to the next. Requests that nobody had wait for another server, if there is
    /// one. With [`continuation(Continuation::WaitForSuccessor)`](Self::continuation) clients wait for another server, and a request
    /// that a dead one had in hand comes to it, flagged [`redelivered`](crate::Request::redelivered).
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let server = domain.channel("sum").service(1).server::<[u64; 3], u64>()?;
    /// let client = domain.channel("sum").client::<[u64; 3], u64>()?;
    /// std::thread::spawn(move || server.serve(|numbers| numbers.iter().sum()));
    /// assert_eq!(client.call([1, 2, 3])?, 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn service(mut self, calls: u64) -> Self {
        self.kind = Some(Kind::Service);
        self.degree = Some(calls);
        self.form = Some(Form::SERVICE);
        self
    }

    /// Most clients of a service, from 1 to 64.
    pub fn clients(self, most: u8) -> Self {
        self.senders(most)
    }

    /// Most servers of a service, from 1 to 64.
    pub fn servers(self, most: u8) -> Self {
        self.receivers(most)
    }

    pub(super) fn check_not_service(&self, kind: Option<Kind>) -> Result<(), AttachError> {
        if kind == Some(Kind::Service) {
            let why =
                "it is a service, which has clients and servers: attach client() or server()".to_owned();
            return Err(AttachError::Impossible { name: self.name.to_owned(), why });
        }
        Ok(())
    }

    /// A service, or an error that says what it cannot be.
    fn found_service<Req: Message, Rep: Message>(mut self) -> Result<Found, AttachError> {
        let member = self.domain.member();
        if !member.here() {
            return Err(AttachError::Forked);
        }
        self.kind = self.kind.or(Some(Kind::Service));
        if self.kind != Some(Kind::Service) || self.overflow.is_some() {
            let why = "client and server are ends of a service(calls), which has no overflow".to_owned();
            return Err(AttachError::Impossible { name: self.name.to_owned(), why });
        }
        self.check()?;
        find_or_make(member, self.name, &self.wish::<(Req, Rep)>())
    }

    /// Attaches a calling end: finds the service or makes it.
    ///
    /// # Errors
    /// [`AttachError`]: another end fixed something else, or as many clients as it may have are there.
    pub fn client<Req: Message, Rep: Message>(self) -> Result<Client<Req, Rep>, AttachError> {
        let (member, name, wait) = (self.domain.member(), self.name, self.wait);
        Client::attach(member, name, &self.found_service::<Req, Rep>()?, wait)
    }

    /// Attaches an answering end: finds the service or makes it.
    ///
    /// # Errors
    /// As [`client`](Self::client).
    pub fn server<Req: Message, Rep: Message>(self) -> Result<Server<Req, Rep>, AttachError> {
        let (member, name, wait) = (self.domain.member(), self.name, self.wait);
        Server::attach(member, name, &self.found_service::<Req, Rep>()?, wait)
    }
}
