//! The processes of a row of requests and replies: clients that have several calls under way and wait for their replies
//! in any order, servers that answer in any order.
//!
//! That each request reaches one server, whole, is checked as for other messages; that each reply is the answer to that
//! very call, by the client. A call has one reply by its type; that there is one at all, the client's return says.

use super::check::{answer, Found, Message};
use super::plan::Row;
use super::side::{ready, send_share};
use crate::failure::Fault;
use staffetta::{Client, Domain, Pending, RecvError, Request, Server};

/// Whose turn it is: not random, but in no order that the other side knows.
struct Turns(u64);

impl Turns {
    fn one_of(&mut self, many: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % many
    }
}

/// A client.
pub fn call(row: &Row, domain: &Domain, who: u64) -> Result<Found, Fault> {
    let client: Client<Message, Message> = row.service(domain).client()?;
    ready()?;
    let most = row.calls() as usize;
    let mut under_way: Vec<(Message, Pending<'_, Message, Message>)> = Vec::with_capacity(most);
    let mut turns = Turns(who);
    let mut finish = |under_way: &mut Vec<(Message, Pending<'_, Message, Message>)>| -> Result<(), Fault> {
        let (request, call) = under_way.swap_remove(turns.one_of(under_way.len()));
        match call.wait().map_err(|error| error.why)? == answer(request) {
            true => Ok(()),
            false => Err("the reply of another call came".into()),
        }
    };
    let mut found = send_share(row, who, |request| {
        if under_way.len() == most {
            finish(&mut under_way)?;
        }
        let call = client.begin(request).map_err(|error| error.why)?;
        under_way.push((request, call));
        Ok(())
    });
    while !under_way.is_empty() {
        if let Err(fault) = finish(&mut under_way) {
            found.note(format!("a call of client {who} failed: {fault}"));
        }
    }
    Ok(found)
}

/// A server: holds requests back as long as more come, and answers one of those that it has.
pub fn serve(row: &Row, domain: &Domain) -> Result<Found, Fault> {
    let server: Server<Message, Message> = row.service(domain).server()?;
    ready()?;
    let most = (row.calls() as usize).min(4);
    let mut found = Found::of(row.senders);
    let mut in_hand: Vec<Request<'_, Message, Message>> = Vec::with_capacity(most);
    let mut turns = Turns(most as u64);
    loop {
        let taken = match in_hand.len() {
            0 => server.recv(),
            held if held < most => server.try_recv(),
            _ => Err(RecvError::WouldBlock),
        };
        match taken {
            Ok(request) => {
                found.take(*request);
                in_hand.push(request);
            }
            Err(RecvError::WouldBlock) => {
                let request = in_hand.swap_remove(turns.one_of(in_hand.len()));
                let reply = answer(*request);
                if let Err(error) = request.reply(reply) {
                    found.note(format!("a reply was not wanted: {error}"));
                }
            }
            Err(RecvError::Disconnected) if in_hand.is_empty() => return Ok(found),
            Err(error) => {
                found.note(format!("a server with {} requests in hand: {error}", in_hand.len()));
                return Ok(found);
            }
        }
    }
}
