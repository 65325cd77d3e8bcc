//! `rendezvous.variable`: from a variable of the domain into a variable of the domain, one copy.

use super::meet::{meet, method_name, unsent, wait_name, Ends};
use super::numbered::{first_word, InTurn, Numbered};
use super::{copy_limit, touch_limit, CACHELINE};
use crate::bench::limit::touch::{read_all, rotation, write_all};
use crate::bench::subject::{LimitName, Side, Spec, Touch, BATCH_LONG, BATCH_SHORT};
use crate::failure::Fault;
use crate::two::wire::Wire;
use staffetta::{Domain, Method, Variable, Wait};

/// Hand-over at every size, against one copy; end to end at the largest, against touching.
pub fn specs() -> Vec<Spec> {
    let mut specs = vec![spec(8, Touch::First, CACHELINE)];
    for bytes in [64 << 10, 1 << 20, 16 << 20] {
        specs.push(spec(bytes, Touch::First, copy_limit(bytes)));
    }
    specs.push(spec(16 << 20, Touch::All, touch_limit(16 << 20)));
    specs
}

fn spec(bytes: u64, touch: Touch, limit: LimitName) -> Spec {
    let (method, wait) = (Method::Coinciding, Wait::Spin);
    Spec {
        what: "rendezvous.variable",
        reference: Some(method_name(method)),
        wait: Some(wait_name(wait)),
        bytes,
        touch: Some(touch),
        batch: if bytes == 8 { BATCH_SHORT } else { BATCH_LONG },
        alone: false,
        limit: Some(limit),
        open: vec![Box::new(move |side, wire| {
            Ok(Box::new(InTurn::new(Variables::open(side, wire, method, wait, bytes, touch)?)))
        })],
    }
}

struct Variables {
    ends: Ends<[u8]>,
    /// Message and target variables in turn; end to end, together larger than the last cache.
    variables: Vec<Variable<[u8]>>,
    turn: usize,
    touch: Touch,
    _domain: Domain,
}

impl Variables {
    fn open(
        side: Side,
        wire: &Wire,
        method: Method,
        wait: Wait,
        bytes: u64,
        touch: Touch,
    ) -> Result<Variables, Fault> {
        let domain = meet(side, wire, method, wait)?;
        let ends = Ends::attach(side, &domain, |c| c.rendezvous().method(method))?;
        let count = match touch {
            Touch::First => 2,
            Touch::All => rotation(bytes),
        };
        let mut variables = Vec::new();
        for _ in 0..count {
            let mut variable = domain.variable_slice(bytes as usize)?;
            // Written once, so that its pages are there, in this process at least.
            variable.zero(bytes as usize).ok_or("a variable has no room for what it was made for")?;
            variables.push(variable);
        }
        Ok(Variables { ends, variables, turn: 0, touch, _domain: domain })
    }

    #[inline]
    fn variable(&mut self) -> &mut Variable<[u8]> {
        self.turn += 1;
        if self.turn == self.variables.len() {
            self.turn = 0;
        }
        &mut self.variables[self.turn]
    }
}

impl Numbered for Variables {
    #[inline]
    fn send(&mut self, number: u64) -> Result<(), Fault> {
        let touch = self.touch;
        let message = self.variable().get_mut().ok_or("a variable is empty")?;
        match touch {
            Touch::First => message[..8].copy_from_slice(&number.to_ne_bytes()),
            Touch::All => write_all(message, number),
        }
        let at = self.turn;
        self.ends.out.send_variable(&mut self.variables[at]).map_err(unsent)
    }

    #[inline]
    fn receive(&mut self) -> Result<u64, Fault> {
        self.variable();
        let target = &mut self.variables[self.turn];
        self.ends.back.recv_into(target)?;
        let message = target.get().ok_or("a variable is empty after a message was received into it")?;
        if self.touch == Touch::All {
            read_all(message);
        }
        Ok(first_word(message))
    }

    fn copies(&self) -> Option<f64> {
        self.ends.copies()
    }
}
