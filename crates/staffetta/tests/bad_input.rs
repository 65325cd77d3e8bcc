//! What a user, a peer or the system may do wrong: a typed error that says what to do; no panic, no signal, no hang.
#![allow(unsafe_code)]

mod common;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use common::{name, role, start, until, watchdog};
use staffetta::{
    Addresses, AllocateError, AttachError, Domain, DomainError, Method, Parcel, RecvError, SendFailure,
};

const MIB: u64 = 1 << 20;

fn limit(resource: libc::__rlimit_resource_t, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: a plain system call on a local struct.
    assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0);
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 60);
    let echo = |domain: &Domain| {
        let (tx, rx) = domain.channel("").unnamed::<Parcel<u64>>().unwrap();
        let thread = std::thread::spawn(move || *rx.recv().unwrap());
        tx.send(Parcel::new(domain, 5).unwrap()).unwrap();
        assert_eq!(thread.join().unwrap(), 5);
    };
    match role.as_str() {
        "occupied" => {
            let base: usize = arguments[1].parse().unwrap();
            // SAFETY: a fixed place that is free is asked for.
            let there = unsafe {
                libc::mmap(
                    base as *mut _,
                    4096,
                    libc::PROT_READ,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                    -1,
                    0,
                )
            };
            assert_eq!(there as usize, base);
            let error = Domain::join(&arguments[0]).unwrap_err();
            assert!(matches!(error, DomainError::WindowOccupied { base: b, .. } if b == base), "{error}");
            assert!(error.to_string().contains(&format!("{base:#x}")), "{error}");
            let domain = common::options().addresses(Addresses::Distinct).join(&arguments[0]).unwrap();
            let error = domain.channel("c").method(Method::Coinciding).sender::<u64>().err().unwrap();
            assert!(matches!(error, AttachError::AddressesDiffer { .. }), "{error}");
            domain.channel("d").method(Method::Distinct).sender::<u64>().unwrap().send(1).unwrap();
        }
        "ulimit-v" => {
            limit(libc::RLIMIT_AS, arguments[0].parse().unwrap());
            match Domain::create() {
                Ok(domain) => echo(&domain),
                Err(error) => eprintln!("ulimit -v {}: {error}", arguments[0]),
            }
        }
        "ulimit-f" => {
            limit(libc::RLIMIT_FSIZE, arguments[0].parse().unwrap());
            match Domain::create() {
                Ok(domain) => echo(&domain),
                // Not printed: standard error may be a file, and writing to it a signal.
                Err(error) => {
                    assert!(error.to_string().contains("ulimit -f"), "it does not say what to raise")
                }
            }
        }
        "descriptors" => {
            limit(libc::RLIMIT_NOFILE, 40);
            let mut held: Vec<OwnedFd> = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                held.push(file.into());
            }
            // At every number of free descriptors: an error, or it works; and never a hang or a panic.
            for _ in 0..30 {
                match common::options().open(&arguments[0]) {
                    Ok(domain) => {
                        echo(&domain);
                        match domain.parcels(Method::Capability).new(1_u64) {
                            Ok(_) => return,
                            Err(error) => eprintln!("{} descriptors: {error}", held.len()),
                        }
                    }
                    Err(error) => eprintln!("{} descriptors: {error}", held.len()),
                }
                held.pop();
            }
            panic!("30 free descriptors are not enough");
        }
        "mlock" => {
            // SAFETY: a plain system call.
            if unsafe { libc::mlockall(libc::MCL_FUTURE) } != 0 {
                eprintln!("skipped: mlockall is not permitted");
                return;
            }
            let before = resident();
            let domain = match Domain::join(&arguments[0]) {
                Ok(domain) => domain,
                Err(error) => {
                    eprintln!("mlockall: {error}");
                    return;
                }
            };
            echo(&domain);
            assert!(resident() - before < 64 * MIB, "{} bytes are resident", resident() - before);
        }
        "crash" => {
            limit(libc::RLIMIT_CORE, libc::RLIM_INFINITY);
            std::env::set_current_dir(&arguments[1]).unwrap();
            let domain = Domain::create().unwrap();
            let _parcel = Parcel::<[u8]>::with_tail(&domain, 32 * MIB as usize).unwrap();
            std::process::abort();
        }
        "touch-released" => {
            let domain = Domain::create().unwrap();
            let parcel = domain.parcels(Method::Capability).new([7_u64; 1000]).unwrap();
            let address = std::ptr::from_ref(&*parcel).cast::<u64>();
            let _capability = parcel.release().ok().unwrap();
            // SAFETY: none: it must fault.
            std::process::exit((unsafe { address.read_volatile() } & 1) as i32);
        }
        "write-read-only" => {
            let domain = Domain::create().unwrap();
            let parcel = domain.parcels(Method::Capability).new([7_u64; 1000]).unwrap();
            let capability = parcel.release().ok().unwrap();
            let read = capability.acquire_read().unwrap();
            assert_eq!(read[999], 7);
            let address = std::ptr::from_ref(&*read).cast::<u64>().cast_mut();
            // SAFETY: none: it must fault.
            unsafe { address.write_volatile(8) };
        }
        "hold" => {
            let domain = common::options().directory(&arguments[1]).open(&arguments[0]).unwrap();
            let _tx = domain.sender::<u64>("c").unwrap();
            std::thread::sleep(Duration::from_secs(600));
        }
        "contained" => {
            let domain = common::options().directory(&arguments[1]).open(&arguments[0]).unwrap();
            domain.sender::<u64>("c").unwrap().send(42).unwrap();
            let parcels = domain.channel("p").method(Method::Capability).sender::<Parcel<u64>>().unwrap();
            parcels.send(domain.parcels(Method::Capability).new(43).unwrap()).unwrap();
        }
        other => panic!("no role {other}"),
    }
}

fn succeeds(role: &str, arguments: &[&str]) {
    let status = start(role, arguments).wait().unwrap();
    assert!(status.success(), "{role} {arguments:?}: {status}");
}

fn dies_of(role: &str, arguments: &[&str], signal: i32) {
    let status = start(role, arguments).wait().unwrap();
    assert_eq!(status.signal(), Some(signal), "{role}: {status}");
}

#[test]
fn names_that_are_none() {
    for bad in ["", "a/b", "a\0b", &"x".repeat(10_000)] {
        for error in [Domain::open(bad).unwrap_err(), Domain::join(bad).unwrap_err()] {
            assert!(matches!(error, DomainError::Name(_)), "{bad:?}: {error}");
        }
    }
    let domain = Domain::create().unwrap();
    for bad in ["", "a\0b", &"x".repeat(129)] {
        let error = domain.sender::<u64>(bad).err().unwrap();
        assert!(matches!(error, AttachError::Name { .. }), "{bad:?}: {error}");
    }
    assert!(domain.sender::<u64>(&"x".repeat(128)).is_ok());
}

/// The longest time that there is means for ever, everywhere.
#[test]
fn times_beyond_every_clock() {
    let _watchdog = watchdog("times beyond every clock", 60);
    let domain = common::options().patience(Duration::MAX).open(&name("patience")).unwrap();
    let (tx, rx) = domain.channel("").unnamed::<u64>().unwrap();
    let thread = std::thread::spawn(move || rx.recv_timeout(Duration::MAX).unwrap());
    tx.send_timeout(7, Duration::MAX).unwrap();
    assert_eq!(thread.join().unwrap(), 7);
}

#[test]
fn a_domain_that_is_not_there() {
    let error = Domain::join(&name("nowhere")).unwrap_err();
    assert!(matches!(error, DomainError::Open(_)), "{error}");
}

fn join_file(file: &impl AsFd) -> Result<Domain, DomainError> {
    let file = file.as_fd().try_clone_to_owned().unwrap();
    common::options().addresses(Addresses::Distinct).join_descriptor(file)
}

#[test]
fn files_that_are_no_domain_of_ours() {
    let _watchdog = watchdog("foreign files", 120);
    let foreign = |error: DomainError| assert!(matches!(error, DomainError::Foreign { .. }), "{error}");
    foreign(join_file(&std::fs::File::open("/dev/null").unwrap()).unwrap_err());
    foreign(join_file(&std::fs::File::open(std::env::current_exe().unwrap()).unwrap()).unwrap_err());
    foreign(join_file(&std::os::unix::net::UnixStream::pair().unwrap().0).unwrap_err());
    let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
    let memfd = rustix::fs::memfd_create(c"short", flags).unwrap();
    foreign(join_file(&memfd).unwrap_err());
    rustix::fs::ftruncate(&memfd, 1 << 40).unwrap();
    foreign(join_file(&memfd).unwrap_err());
    rustix::fs::fcntl_add_seals(&memfd, rustix::fs::SealFlags::SHRINK).unwrap();
    foreign(join_file(&memfd).unwrap_err());

    // A domain with one bit of its first words flipped: refused, or joined; never a signal. The first words are copied to
    // a file of the same size.
    let domain = Domain::create().unwrap();
    let mut header = [0_u8; 128];
    rustix::io::pread(domain.descriptor(), &mut header, 0).unwrap();
    let (mut joined, mut refused) = (0, 0);
    for bit in 0..header.len() * 8 {
        let file = rustix::fs::memfd_create(c"flipped", flags).unwrap();
        rustix::fs::ftruncate(&file, domain.window_bytes()).unwrap();
        let mut flipped = header;
        flipped[bit / 8] ^= 1 << (bit % 8);
        rustix::io::pwrite(&file, &flipped, 0).unwrap();
        rustix::fs::fcntl_add_seals(&file, rustix::fs::SealFlags::SHRINK | rustix::fs::SealFlags::GROW)
            .unwrap();
        match join_file(&file) {
            Ok(_) => joined += 1,
            Err(DomainError::Foreign { .. } | DomainError::Version { .. } | DomainError::ByteOrder) => {
                refused += 1;
            }
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
    eprintln!("one bit of the header flipped: {joined} joined, {refused} refused");
    assert!(refused > 3 * 32, "magic, version and byte order are looked at");
}

#[test]
fn an_occupied_window() {
    let name = name("occupied");
    let domain = common::options().open(&name).unwrap();
    let rx = domain.channel("d").method(Method::Distinct).receiver::<u64>().unwrap();
    let child = start("occupied", &[&name, &domain.window_base().to_string()]);
    let _watchdog = watchdog("occupied", 60);
    assert_eq!(rx.recv().unwrap(), 1);
    common::finish(child);
}

#[test]
fn limits_of_the_process() {
    let _watchdog = watchdog("limits", 120);
    for gib in [1_u64, 20, 40, 100] {
        succeeds("ulimit-v", &[&(gib << 30).to_string()]);
    }
    for bytes in [0, 1 << 20, 1 << 33, 1 << 36] {
        succeeds("ulimit-f", &[&u64::to_string(&bytes)]);
    }
    let name = name("descriptors");
    let _domain = common::options().open(&name).unwrap();
    succeeds("descriptors", &[&name]);
}

#[test]
fn locked_memory_is_not_filled() {
    let _watchdog = watchdog("mlockall", 60);
    let name = name("mlock");
    let _domain = common::options().open(&name).unwrap();
    succeeds("mlock", &[&name]);
}

#[test]
fn a_core_dump_is_small() {
    let _watchdog = watchdog("core dump", 60);
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.starts_with('|') || pattern.contains('/') || pattern.trim().is_empty() {
        eprintln!("skipped: cores go elsewhere: {}", pattern.trim());
        return;
    }
    let directory = std::env::temp_dir().join(name("core"));
    std::fs::create_dir(&directory).unwrap();
    dies_of("crash", &["", directory.to_str().unwrap()], libc::SIGABRT);
    let mut bytes = 0;
    for file in std::fs::read_dir(&directory).unwrap() {
        bytes += file.unwrap().metadata().unwrap().len();
    }
    std::fs::remove_dir_all(&directory).unwrap();
    eprintln!("core dump: {bytes} bytes");
    assert!(bytes < 16 * MIB, "{bytes}");
}

#[test]
fn a_full_domain_says_so_and_works_again() {
    let _watchdog = watchdog("full domain", 60);
    let domain = common::options().memory_max_bytes(4 * MIB).create().unwrap();
    for method in Method::ALL {
        let (tx, rx) = domain.channel("").method(method).basic(2).unnamed::<Parcel<[u64]>>().unwrap();
        for _ in 0..3 {
            let mut sent = domain.parcels(method).zeroed::<[u64]>(50_000).unwrap();
            sent.fill(9);
            tx.send(sent).unwrap();
            let mut held = Vec::new();
            let error = loop {
                match domain.parcels(method).zeroed::<[u64]>(10_000) {
                    Ok(parcel) => held.push(parcel),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, AllocateError::Full { .. }), "{method}: {error}");
            assert!(held.len() > 20, "{method}: only {} fit", held.len());
            // A value cannot be staged now, and comes back.
            let (values, _other) = domain.channel("").unnamed::<[u64; 4000]>().unwrap();
            while let Ok(parcel) = domain.parcels(method).zeroed::<[u64]>(1) {
                held.push(parcel);
            }
            let error = values.send_timeout([3; 4000], Duration::from_millis(1)).unwrap_err();
            assert_eq!(error.message[3999], 3);
            drop(held);
            // What was in flight is untouched.
            assert!(rx.recv().unwrap().iter().all(|x| *x == 9));
        }
    }
    let (budget, charged) = domain.memory().unwrap();
    assert!(charged <= budget);
}

#[test]
fn lengths() {
    let _watchdog = watchdog("lengths", 60);
    let domain = Domain::create().unwrap();
    // Zero.
    let (tx, rx) = domain.channel("").basic(3).unnamed::<Parcel<[u64]>>().unwrap();
    tx.send(Parcel::with_tail(&domain, 0).unwrap()).unwrap();
    assert_eq!(rx.recv().unwrap().len(), 0);
    let (tx, rx) = domain.channel("").basic(3).unnamed::<[u64]>().unwrap();
    tx.send_slice(&[]).unwrap();
    assert_eq!(rx.recv_slice(&mut []).unwrap(), 0);
    let (tx, rx) = domain.channel("").unnamed::<[u64]>().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || (0..100).for_each(|_| tx.send_slice(&[]).unwrap()));
        for _ in 0..100 {
            assert_eq!(rx.recv_slice(&mut []).unwrap(), 0);
        }
    });
    // Too long, on both sides, whoever comes first, from and to private memory and variables.
    for case in 0..8 {
        let (late, from_variable, to_variable) = (case & 1 != 0, case & 2 != 0, case & 4 != 0);
        let (tx, rx) = domain.channel("").unnamed::<[u64]>().unwrap();
        let (here, there) = (domain.clone(), domain.clone());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(if late { 10 } else { 0 }));
                let mut variable = here.variable_slice::<u64>(10).unwrap();
                variable.zero(10).unwrap();
                let sent =
                    if from_variable { tx.send_variable(&mut variable) } else { tx.send_slice(&[0; 10]) };
                let why = sent.unwrap_err().why;
                assert!(matches!(why, SendFailure::TooLong { length: 80, capacity: 40 }), "{case}: {why}");
                tx.send_slice(&[5; 5]).unwrap(); // no harm done
            });
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(if late { 0 } else { 10 }));
                let mut variable = there.variable_slice::<u64>(5).unwrap();
                let mut slice = [0; 5];
                let why = if to_variable {
                    rx.recv_into(&mut variable).unwrap_err()
                } else {
                    rx.recv_slice(&mut slice).unwrap_err()
                };
                assert!(matches!(why, RecvError::TooLong { length: 80, capacity: 40 }), "{case}: {why}");
                assert_eq!(rx.recv_slice(&mut slice).unwrap(), 5);
                assert_eq!(slice, [5; 5]);
            });
        });
    }
    // Alignment over a page.
    #[derive(Clone, Copy, staffetta::Message)]
    #[repr(C, align(8192))]
    struct Wide([u8; 8192]);
    for method in Method::ALL {
        let error = domain.parcels(method).uninit::<Wide>().err().unwrap();
        assert!(matches!(error, AllocateError::Alignment { align: 8192, .. }), "{error}");
    }
    let error = Parcel::<[u64]>::with_tail(&domain, usize::MAX).err().unwrap();
    assert!(matches!(error, AllocateError::Length { .. }), "{error}");
    let error = Parcel::<[u64]>::with_tail(&domain, 1 << 50).err().unwrap();
    assert!(matches!(error, AllocateError::TooLarge { .. }), "{error}");
}

#[test]
fn rights_are_enforced_by_the_mapping() {
    let _watchdog = watchdog("rights", 60);
    dies_of("touch-released", &[], libc::SIGSEGV);
    dies_of("write-read-only", &[], libc::SIGSEGV);
    let domain = Domain::create().unwrap();
    let mut capability =
        domain.parcels(Method::Capability).new([7_u64; 1000]).unwrap().release().ok().unwrap();
    capability.seal().unwrap();
    assert_eq!(capability.acquire_read().unwrap()[3], 7);
    let (capability, error) = capability.acquire().err().unwrap();
    assert!(matches!(error, staffetta::AcquireError::System(_)), "{error}");
    drop(capability);
    // What was sealed is not handed out again to be written.
    let again = domain.parcels(Method::Capability).new([8_u64; 1000]).unwrap();
    assert_eq!(again[0], 8);
}

#[test]
fn more_capabilities_than_the_cache_keeps() {
    let domain = Domain::create().unwrap();
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().matches("staffetta-capability").count();
    let mut held: Vec<_> =
        (0..200_u64).map(|n| domain.parcels(Method::Capability).new([n; 600]).unwrap()).collect();
    assert!(maps() >= 200, "held ones stay mapped");
    held.drain(..190);
    assert!(maps() <= 64 + 10 + 20, "{} mappings that nobody uses", maps());
    for (n, parcel) in held.iter().enumerate() {
        assert_eq!(parcel[599], 190 + n as u64);
    }
    for round in 0..3_u64 {
        let again: Vec<_> =
            (0..200_u64).map(|n| domain.parcels(Method::Capability).new([n + round; 600]).unwrap()).collect();
        assert!(again.iter().enumerate().all(|(n, p)| p[0] == n as u64 + round && p[599] == p[0]));
    }
}

#[test]
fn an_empty_domain_is_small() {
    let domain = Domain::create().unwrap();
    let stat = rustix::fs::fstat(domain.descriptor()).unwrap();
    let bytes = stat.st_blocks as u64 * 512;
    eprintln!("an empty domain: {bytes} bytes");
    assert!(bytes < MIB, "{bytes}");
}

#[test]
fn nothing_is_left_behind() {
    let _watchdog = watchdog("nothing left behind", 60);
    let shm = || std::fs::read_dir("/dev/shm").map(|d| d.count()).unwrap_or(0);
    let directory = std::env::temp_dir().join(name("place"));
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let (before, name) = (shm(), name("kill-all"));
    let options = common::options().directory(&directory);
    for _ in 0..5 {
        let mut children: Vec<_> = (0..2)
            .map(|i| {
                let name = format!("{name}-{i}");
                start("hold", &[&name, directory.to_str().unwrap()])
            })
            .collect();
        for i in 0..2 {
            until(|| options.join(&format!("{name}-{i}")).is_ok());
        }
        for child in &mut children {
            child.kill().unwrap();
        }
        for child in &mut children {
            child.wait().unwrap();
        }
        for i in 0..2 {
            // The name is free at once, and this is another domain than before.
            let domain = options.create_new(&format!("{name}-{i}")).unwrap();
            assert!(!domain.receiver::<u64>("c").unwrap().has_peer());
        }
    }
    assert!(shm() <= before);
    let left: Vec<_> = std::fs::read_dir(&directory).unwrap().collect();
    eprintln!("left in the directory: {left:?}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn two_containers_of_one_user() {
    let _watchdog = watchdog("containers", 60);
    let directory = std::env::temp_dir().join(name("shared"));
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let name = name("contained");
    let command = |unshare: &[&str]| {
        let mut command = std::process::Command::new("unshare");
        command.args(unshare);
        command
    };
    let namespaces: &[&[&str]] = &[
        &["--pid", "--ipc", "--net", "--fork"],
        &["--user", "--map-current-user", "--pid", "--ipc", "--net", "--fork"],
    ];
    let permitted = namespaces.iter().find(|n| command(n).arg("true").status().is_ok_and(|s| s.success()));
    let Some(namespaces) = permitted else {
        eprintln!("skipped: unshare is not permitted");
        return;
    };
    let options = common::options().directory(&directory);
    let domain = options.open(&name).unwrap();
    let rx = domain.receiver::<u64>("c").unwrap();
    let parcels = domain.channel("p").method(Method::Capability).receiver::<Parcel<u64>>().unwrap();
    let mut child = command(namespaces)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "roles", "--nocapture", "--test-threads=1"])
        .env("STAFFETTA_TEST_ROLE", "contained")
        .env("STAFFETTA_TEST_ARGUMENTS", format!("{name}\u{1f}{}", directory.to_str().unwrap()))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(rx.recv().unwrap(), 42);
    assert_eq!(*parcels.recv().unwrap(), 43);
    assert!(child.wait().unwrap().success());
    drop((rx, parcels, domain));
    std::fs::remove_dir_all(&directory).unwrap();
}
