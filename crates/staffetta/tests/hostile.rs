//! Words of the domain that a peer has overwritten: each of these once made a call panic, hang or reach outside of the window.
//! They were found by `cargo xtask torture mutations`, which goes on looking. The offsets are those of docs/layout.md.
#![allow(unsafe_code)] // Words of the window, by their offset.

mod common;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use std::os::fd::OwnedFd;

use common::watchdog;
use staffetta::{Domain, DomainError, Method, Overflow, Parcel, RecvError, SendFailure};

const SOON: Duration = Duration::from_millis(1);
/// Offset of the first channel record; in it: the two places of a channel with a buffer, and where its block is.
const CHANNELS: u64 = 1 << 20;
const TAIL: u64 = 320;
const RING: u64 = 568;
const CROWD_BYTES: u64 = 16_640;

fn word(domain: &Domain, offset: u64) -> &AtomicU64 {
    assert!(offset % 8 == 0 && offset < domain.window_bytes());
    // SAFETY: a word of the window, which the domain keeps mapped.
    unsafe { &*((domain.window_base() as u64 + offset) as *const AtomicU64) }
}

fn domain() -> Domain {
    common::options().create().unwrap()
}

/// Where the block of the domain's first channel is.
fn ring(domain: &Domain) -> u64 {
    word(domain, CHANNELS + RING).load(SeqCst)
}

#[test]
fn a_cell_of_a_broadcast_that_is_far_ahead() {
    let _watchdog = watchdog("cells far ahead", 60);
    for shift in [40, 50, 55, 61, 63] {
        let domain = domain();
        let latest = || domain.channel("v").latest();
        let (tx, rx) = (latest().sender::<u64>().unwrap(), latest().receiver::<u64>().unwrap());
        tx.send(1).unwrap();
        let cell = word(&domain, ring(&domain) + 512 + CROWD_BYTES);
        assert_ne!(cell.load(SeqCst), 0, "the cell of its only place");
        cell.fetch_or(1 << shift, SeqCst);
        let came = rx.recv_timeout(SOON);
        assert!(matches!(came, Ok(_) | Err(RecvError::Corrupt | RecvError::TimedOut)), "{came:?}");
        // Who comes now looks how far the sender is.
        let late = latest().receiver::<u64>().unwrap();
        assert!(matches!(late.recv_timeout(SOON), Ok(_) | Err(RecvError::Corrupt | RecvError::TimedOut)));
        drop(tx);
        let _ = latest().sender::<u64>().unwrap().send(2);
    }
}

/// The latest value has a slot for each of 64 receivers and one or two more; its cell has room for numbers up to 127.
#[test]
fn a_cell_that_names_a_slot_that_is_not_there() {
    let _watchdog = watchdog("a slot that is not there", 60);
    for slot in [100, 127] {
        let domain = domain();
        let latest = || domain.channel("v").latest();
        let (tx, rx) = (latest().sender::<u64>().unwrap(), latest().receiver::<u64>().unwrap());
        tx.send(1).unwrap();
        let cell = word(&domain, ring(&domain) + 512 + CROWD_BYTES);
        cell.store((cell.load(SeqCst) & !127) | slot, SeqCst);
        let came = rx.recv_timeout(SOON);
        assert!(matches!(came, Err(RecvError::Corrupt)), "slot {slot}: {came:?}");
        drop(tx);
        let _ = latest().sender::<u64>().unwrap().send(2);
    }
}

/// What a slot says of its message's length decides over nothing that lies outside of it.
#[test]
fn a_length_beyond_all_messages() {
    let _watchdog = watchdog("a length beyond all messages", 60);
    for length in [9, 4096, 1 << 40, u64::MAX] {
        let domain = domain();
        let channel = || domain.channel("b").buffered(3);
        let (tx, rx) = (channel().sender::<u64>().unwrap(), channel().receiver::<u64>().unwrap());
        tx.send(1).unwrap();
        // The word after that of its state.
        let said = word(&domain, ring(&domain) + 8);
        assert_eq!(said.load(SeqCst), 8);
        said.store(length, SeqCst);
        let came = rx.recv_timeout(SOON);
        let is_told =
            matches!(came, Err(RecvError::TooLong { .. } | RecvError::Corrupt | RecvError::Torn { .. }));
        assert!(is_told, "{length}: {came:?}");
    }
}

#[test]
fn a_queue_that_has_neither_room_nor_a_message_to_drop() {
    let _watchdog = watchdog("neither room nor a message", 60);
    let domain = domain();
    let queue = || domain.channel("q").bounded(1).overflow(Overflow::DropOldest);
    let (tx, _rx) = (queue().sender::<u64>().unwrap(), queue().receiver::<u64>().unwrap());
    tx.send(1).unwrap();
    tx.send(2).unwrap();
    // The only cell says that position 0 was filled last, where position 1 was.
    let cell = word(&domain, ring(&domain) + 2 * CROWD_BYTES);
    let at_0 = (cell.load(SeqCst) & 0xff) | (1 << 8);
    cell.store(at_0, SeqCst);
    word(&domain, ring(&domain) + 128).store(2, SeqCst);
    for _ in 0..3 {
        let sent = tx.send(3).map_err(|error| error.why);
        assert!(matches!(sent, Ok(()) | Err(SendFailure::Corrupt)), "{sent:?}");
        let forced = tx.force_send(4).map_err(|error| error.why);
        assert!(matches!(forced, Ok(_) | Err(SendFailure::Corrupt)), "{forced:?}");
    }
}

#[test]
fn a_place_beyond_all_numbers() {
    let _watchdog = watchdog("a place beyond all numbers", 60);
    for place in [u64::MAX, u64::MAX - 1, 1 << 63] {
        let domain = domain();
        let channel = || domain.channel("b").buffered(3);
        let (tx, rx) = (channel().sender::<u64>().unwrap(), channel().receiver::<u64>().unwrap());
        (0..3).for_each(|n| tx.send(n).unwrap());
        drop(tx);
        word(&domain, CHANNELS + TAIL).store(place, SeqCst);
        let tx = channel().sender::<u64>().unwrap();
        for n in 0..6 {
            let sent = tx.send_timeout(n, SOON).map_err(|error| error.why);
            assert!(matches!(sent, Ok(()) | Err(SendFailure::TimedOut | SendFailure::Corrupt)), "{sent:?}");
            let _ = rx.try_recv();
        }
    }
}

/// The word that says where the ring lies changes under two ends: beside its place, at the window's end, beyond it.
#[test]
fn a_ring_that_is_moved_away() {
    let _watchdog = watchdog("a ring moved away", 60);
    for offset in [1_u64, 4, u64::MAX, (16 << 30) - 8, 16 << 30, 1 << 40] {
        for buffered in [false, true] {
            let domain = domain();
            let channel = || match buffered {
                true => domain.channel("c").buffered(3),
                false => domain.channel("c").basic(3),
            };
            let (tx, rx) = (channel().sender::<u64>().unwrap(), channel().receiver::<u64>().unwrap());
            tx.send(1).unwrap();
            let ring = word(&domain, CHANNELS + RING).swap(offset, SeqCst);
            assert_ne!(ring, 0);
            let _ = (tx.try_send(2), tx.send_timeout(2, SOON), rx.try_recv(), rx.recv_timeout(SOON));
            drop((tx, rx));
        }
    }
}

#[test]
fn a_page_size_of_nothing() {
    let domain = domain();
    let page = word(&domain, 32);
    for bytes in [0, 1, 3, u64::MAX, 1 << 63] {
        page.store(bytes, SeqCst);
        for length in [1, 5000] {
            Parcel::<[u8]>::with_tail(&domain, length).unwrap();
            domain.parcels(Method::Capability).zeroed::<[u8]>(length).unwrap();
        }
        domain.trim().unwrap();
    }
}

#[test]
fn counters_and_charges_beyond_all_numbers() {
    let domain = domain();
    let queue = || domain.channel("q").bounded(4);
    let (one, two) = (queue().sender::<u64>().unwrap(), queue().sender::<u64>().unwrap());
    let sender = |n: u64| ring(&domain) + 256 + n * 256;
    for tally in [sender(0) + 128, sender(1) + 128] {
        (0..8).for_each(|i| word(&domain, tally + i * 8).store(u64::MAX, SeqCst));
    }
    let _ = one.channel_counters();
    drop((one, two));
    // Free blocks whose records say that they cost everything there is.
    let parcels: Vec<_> = (0..4).map(|_| Parcel::<[u8]>::with_tail(&domain, 1 << 18).unwrap()).collect();
    drop(parcels);
    let file = domain.descriptor();
    let records = domain.window_bytes() / 64;
    let mut at = records;
    while let Ok(from) = rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
        if from >= records * 20 / 4 {
            break;
        }
        for record in (from..from + 4096).step_by(32).filter(|at| word(&domain, at + 16).load(SeqCst) != 0) {
            word(&domain, record + 16).store(u64::MAX - 5, SeqCst);
        }
        at = from + 4096;
    }
    domain.trim().unwrap();
}

/// A receiver's target variable lies over the sender's variable.
#[test]
fn a_target_that_overlaps() {
    let _watchdog = watchdog("a target that overlaps", 60);
    let domain = domain();
    let channel = || domain.channel("v").rendezvous().method(Method::Distinct);
    let (tx, rx) = (channel().sender::<[u64; 40]>().unwrap(), channel().receiver::<[u64; 40]>().unwrap());
    let mut from = domain.variable::<[u64; 40]>().unwrap();
    from.set([7; 40]);
    let mine = std::ptr::from_ref(from.get().unwrap()) as u64 - domain.window_base() as u64;
    let mut to = domain.variable::<[u64; 40]>().unwrap();
    let receiver = std::thread::spawn(move || rx.recv_into_timeout(&mut to, Duration::from_secs(20)));
    let target = word(&domain, CHANNELS + 192 + 16);
    common::until(|| target.load(SeqCst) != 0 && word(&domain, CHANNELS).load(SeqCst) & 7 == 2);
    target.store((mine + 8) | (1 << 44), SeqCst);
    tx.send_variable(&mut from).unwrap();
    receiver.join().unwrap().unwrap();
}

#[test]
fn the_memory_cannot_be_cut_or_made_longer() {
    let domain = domain();
    let file = domain.descriptor();
    for bytes in [0, 4096, domain.window_bytes() - 1, domain.window_bytes() + 4096] {
        assert_eq!(rustix::fs::ftruncate(file, bytes), Err(rustix::io::Errno::PERM));
    }
    let parcel = Parcel::new(&domain, 5_u64).unwrap();
    assert_eq!(*parcel, 5);
}

/// A copy of a domain's first bytes in a file of `bytes`, with these seals.
fn copy(
    domain: &Domain,
    bytes: u64,
    seals: rustix::fs::SealFlags,
    change: impl FnOnce(&mut [u8]),
) -> OwnedFd {
    let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create(c"copy", flags).unwrap();
    let mut header = vec![0; 1 << 20];
    rustix::io::pread(domain.descriptor(), &mut header, 0).unwrap();
    change(&mut header);
    rustix::fs::ftruncate(&file, bytes).unwrap();
    let length = header.len().min(bytes as usize);
    rustix::io::pwrite(&file, &header[..length], 0).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file
}

#[test]
fn descriptors_of_other_files() {
    use rustix::fs::SealFlags;
    let domain = domain();
    let join = |file| {
        let options = common::options().addresses(staffetta::Addresses::Distinct);
        options.join_descriptor(file).map(|domain| drop(Parcel::new(&domain, 1_u64)))
    };
    let (whole, both) = (domain.window_bytes(), SealFlags::SHRINK | SealFlags::GROW);
    let same = |_: &mut [u8]| ();
    join(copy(&domain, whole, both, same)).unwrap();
    for (bytes, seals) in [
        (whole - 4096, both),
        (whole / 2, both),
        (4096, both),
        (0, both),
        (whole, SealFlags::GROW),
        (whole, SealFlags::empty()),
    ] {
        let refused = join(copy(&domain, bytes, seals, same)).unwrap_err();
        assert!(matches!(refused, DomainError::Foreign { .. }), "{bytes} bytes, {seals:?}: {refused}");
    }
    // It cannot be written: another error than a fault.
    let sealed = join(copy(&domain, whole, both | SealFlags::WRITE, same)).unwrap_err();
    assert!(!sealed.to_string().is_empty());
    for version in [0_u32, 1, u32::MAX] {
        let older = copy(&domain, whole, both, |bytes| bytes[8..12].copy_from_slice(&version.to_ne_bytes()));
        let refused = join(older).unwrap_err();
        assert!(matches!(refused, DomainError::Version { theirs, .. } if theirs == version), "{refused}");
    }
    let pipe = rustix::pipe::pipe().unwrap().0;
    assert!(matches!(join(pipe), Err(DomainError::Foreign { .. })));
    let folder = rustix::fs::open("/", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    assert!(matches!(join(folder), Err(DomainError::Foreign { .. })));
    let read_only = std::fs::File::open(format!("/proc/self/fd/{}", {
        use std::os::fd::AsRawFd;
        domain.descriptor().as_raw_fd()
    }));
    assert!(join(read_only.unwrap().into()).is_err());
}
