//! What is seen, as JSON.

use serde_json::{json, Value};
use staffetta::inspect::{ChannelView, DomainView, EndView, FoundDomain, ProcessView, SpecView, WaitView};
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
