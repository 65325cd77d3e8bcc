//! What is seen, as JSON.

use serde_json::{json, Value};
use staffetta::inspect::{
    Broken, ChannelView, Diagnosis, DomainView, EndView, FoundDomain, ProcessView, SpecView, WaitView,
    Waiting,
};
use staffetta::SideCounters;

/// A domain that was found, with what is in it if that can be read.
pub fn found(found: &FoundDomain, view: Option<&DomainView>, obstacle: Option<String>) -> Value {
    json!({
        "name": found.name,
        "identity": found.identity,
        "pids": found.pids,
        "obstacle": obstacle,
        "processes": view.map(|view| view.processes.iter().map(process).collect::<Vec<_>>()),
        "channels": view.map(|view| view.channels.iter().map(|channel| json!({
            "name": channel.name,
            "kind": channel.spec.as_ref().map(|spec| spec.kind.to_string()),
            "degree": channel.spec.as_ref().map(|spec| spec.degree),
            "type": channel.spec.as_ref().map(|spec| spec.schema.identity()),
            "waiting": channel.waiting,
        })).collect::<Vec<_>>()),
        "memory_bytes": view.map(|view| view.memory_bytes),
        "memory_max_bytes": view.map(|view| view.memory_max_bytes),
    })
}

/// A domain.
pub fn domain(view: &DomainView) -> Value {
    json!({
        "name": view.name,
        "identity": view.identity,
        "window_bytes": view.window_bytes,
        "window_base": view.window_base,
        "entries_in_use": view.entries_in_use,
        "memory_bytes": view.memory_bytes,
        "memory_max_bytes": view.memory_max_bytes,
        "retained_bytes": view.retained_bytes,
        "processes": view.processes.iter().map(process).collect::<Vec<_>>(),
        "channels": view.channels.iter().map(channel).collect::<Vec<_>>(),
        "pcbs": view.pcbs.iter().map(|pcb| json!({
            "index": pcb.index,
            "process": pcb.process,
            "wakes": pcb.wakes,
            "sleeps_on": pcb.sleeps_on,
        })).collect::<Vec<_>>(),
    })
}

/// What the doctor says.
pub fn diagnosis(diagnosis: &Diagnosis) -> Value {
    json!({
        "name": diagnosis.name,
        "identity": diagnosis.identity,
        "healthy": diagnosis.is_healthy(),
        "processes": diagnosis.processes.iter().map(process).collect::<Vec<_>>(),
        "waits": diagnosis.waits.iter().map(waiting).collect::<Vec<_>>(),
        "deadlocks": diagnosis.deadlocks.iter().map(|deadlock| json!({
            "certain": deadlock.is_certain(),
            "processes": deadlock.processes,
            "waits": deadlock.waits,
            "also": deadlock.also,
            "unless": deadlock.unless.iter().map(|(process, thread)| json!({
                "process": process,
                "thread": thread,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "held_up_by": diagnosis.held_up_by.iter().map(|hold| json!({
            "process": hold.process,
            "status": hold.status.to_string(),
            "waiting": hold.waiting,
        })).collect::<Vec<_>>(),
        "broken": diagnosis.broken.iter().map(broken).collect::<Vec<_>>(),
        "unsettled": diagnosis.unsettled.iter().map(broken).collect::<Vec<_>>(),
        "warnings": diagnosis.warnings(),
    })
}

fn waiting(wait: &Waiting) -> Value {
    json!({
        "process": wait.process,
        "thread": wait.thread,
        "pcb": wait.pcb,
        "for_ns": wait.for_ns,
        "left_ns": wait.left_ns,
        "spins": wait.spins,
        "lasts": wait.lasts,
        "selects": wait.selects,
        "arms": wait.arms.iter().map(|arm| json!({
            "does": arm.doing.to_string(),
            "channel": arm.channel,
            "name": arm.name,
            "for_whom": arm.for_whom,
            "all": arm.all,
            "nobody": arm.nobody.map(|nobody| nobody.to_string()),
        })).collect::<Vec<_>>(),
    })
}

fn broken(broken: &Broken) -> Value {
    json!({ "place": broken.place, "what": broken.what, "words": broken.words })
}

fn process(process: &ProcessView) -> Value {
    json!({
        "slot": process.slot,
        "generation": process.generation,
        "pid": process.pid,
        "program": process.program,
        "membership": process.membership.to_string(),
        "status": process.status.to_string(),
    })
}

/// A channel.
pub fn channel(channel: &ChannelView) -> Value {
    let (sent, received) = channel.counters();
    json!({
        "index": channel.index,
        "name": channel.name,
        "what": channel.spec.as_ref().map(spec),
        "waiting": channel.waiting,
        "lost": channel.lost,
        "descriptor": channel.descriptor.map(|descriptor| json!({
            "state": descriptor.state.to_string(),
            "sequence": descriptor.sequence,
            "asleep": descriptor.asleep,
            "variable": descriptor.variable,
        })),
        "slots": channel.slots.iter().map(|slot| json!({
            "place": slot.place,
            "state": slot.state,
            "asleep": slot.asleep,
            "length": slot.length,
        })).collect::<Vec<_>>(),
        "senders": channel.senders.iter().map(end).collect::<Vec<_>>(),
        "receivers": channel.receivers.iter().map(end).collect::<Vec<_>>(),
        "waits": channel.waits.iter().map(wait).collect::<Vec<_>>(),
        "sent": counters(&sent),
        "received": counters(&received),
    })
}

fn spec(spec: &SpecView) -> Value {
    json!({
        "kind": spec.kind.to_string(),
        "degree": spec.degree,
        "form": spec.form,
        "continuation": spec.continuation.to_string(),
        "method": spec.method.to_string(),
        "parcels": spec.carries_parcels,
        "message_bytes_max": spec.message_bytes_max,
        "type": spec.schema.identity(),
        "layout": spec.schema.to_string(),
    })
}

fn end(end: &EndView) -> Value {
    json!({
        "seat": end.seat,
        "state": end.state.to_string(),
        "process": end.process,
        "taken": end.taken,
        "counters": counters(&end.counters),
    })
}

fn wait(wait: &WaitView) -> Value {
    json!({
        "side": wait.side.to_string(),
        "seat": wait.seat,
        "process": wait.process,
        "for": wait.what,
        "for_whom": wait.for_whom,
        "asleep": wait.asleep,
        "pcb": wait.pcb,
    })
}

fn counters(counters: &SideCounters) -> Value {
    json!({
        "messages": counters.messages,
        "bytes": counters.bytes,
        "bytes_copied": counters.bytes_copied,
        "waits": counters.waits,
        "parks": counters.parks,
        "wake_ups": counters.wake_ups,
        "spin_ns": counters.spin_ns,
        "dropped": counters.dropped,
    })
}
