//! `request-reply`: a call with a `u64` there and a `u64` back. A round is a call; each of its two messages is a hop.

use super::meet::{meet, out_of_sequence, wait_name};
use super::{CACHELINE, FUTEX};
use crate::bench::subject::{Side, Spec, Subject, BATCH_LONG, BATCH_SHORT};
use crate::failure::Fault;
use staffetta::{CallError, Client, Domain, Method, Server, Wait};

/// By each way to wait.
pub fn specs() -> Vec<Spec> {
    Wait::ALL.map(spec).into()
}

fn spec(wait: Wait) -> Spec {
    Spec {
        what: "request-reply",
        reference: None,
        wait: Some(wait_name(wait)),
        bytes: 8,
        touch: None,
        batch: if wait == Wait::Park { BATCH_LONG } else { BATCH_SHORT },
        alone: false,
        limit: Some(if wait == Wait::Park { FUTEX } else { CACHELINE }),
        open: vec![Box::new(move |side, wire| {
            let domain = meet(side, wire, Method::Coinciding, wait)?;
            let service = domain.channel("service").service(8);
            let end = match side {
                Side::Ping => End::Client(service.client()?),
                Side::Pong => End::Server(service.server()?),
            };
            Ok(Box::new(Calls { end, last: 0, _domain: domain }))
        })],
    }
}

enum End {
    Client(Client<u64, u64>),
    Server(Server<u64, u64>),
}

struct Calls {
    end: End,
    last: u64,
    _domain: Domain,
}

fn uncalled(error: CallError<u64>) -> Fault {
    error.why.to_string().into()
}

impl Subject for Calls {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        let End::Client(client) = &self.end else {
            return Err("ping calls".into());
        };
        for _ in 0..rounds {
            self.last += 1;
            let found = client.call(self.last).map_err(uncalled)?;
            if found != self.last {
                return Err(out_of_sequence(self.last, found));
            }
        }
        Ok(())
    }

    fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
        let End::Server(server) = &self.end else {
            return Err("pong answers".into());
        };
        for _ in 0..rounds {
            let request = server.recv()?;
            let number = *request;
            request.reply(number).map_err(|error| error.why.to_string())?;
        }
        Ok(())
    }

    fn copies(&self) -> Option<f64> {
        let (clients, servers) = match &self.end {
            End::Client(client) => client.channel_counters(),
            End::Server(server) => server.channel_counters(),
        };
        let copied = clients.bytes_copied + servers.bytes_copied;
        // Of both messages of each call, that have the same length.
        (clients.bytes != 0).then(|| copied as f64 / (2 * clients.bytes) as f64)
    }
}
