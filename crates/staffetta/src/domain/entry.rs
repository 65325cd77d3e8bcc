//! How a process becomes a member of a domain: by name, by descriptor, by inheritance, or by making it.
//!
//! | way in | through | the memory file |
//! |---|---|---|
//! | `create` | `create_with` | `window::create` |
//! | `join_descriptor` | `join_with` | `window::join` |
//! | `open`, `join`, `create_new` | `meet`, then one of the two | |
//! | `Domain::inherited` | `join_inherited` | `window::adopt` |
//!
//! All end in `enter`, which takes a slot and starts the service.
//!
//! Who else is there, and who creates if several open at once, is decided in `process/door.rs`; the bytes
//! of the file are `window.rs`'s. A process is one member of a domain, however often it opens it by name:
//! handles share the [`Member`].

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{window, Addresses, Domain, DomainOptions};
use crate::error::DomainError;
use crate::handle::Handle;
use crate::launch::{self, Inherited};
use crate::member::{write_text, Member};
use crate::memory::header::FORMAT_VERSION;
use crate::memory::map::PROCESSES_MAX;
use crate::os::fork::ForkGuard;
use crate::os::{machine, memfd};
use crate::process::door::{self, Wanted};
use crate::process::place::Site;
use crate::process::service::{Entrance, Service};
use crate::process::{Name, Place};
use crate::reference::References;
use crate::roster;

/// A domain that this process has opened by name.
struct Opened {
    place: Place,
    name: String,
    addresses: Addresses,
    member: Weak<Member>,
}

/// Held while a name is opened, so that two threads that open the same one become one member.
static OPENED: Mutex<Vec<Opened>> = Mutex::new(Vec::new());

impl DomainOptions {
    /// How one comes to a domain without a name.
    pub(super) fn nameless(&self) -> Result<Entrance, DomainError> {
        Ok(Entrance {
            site: Site::new(&self.place)?,
            name: None,
            listener: None,
            host: None,
            stake: None,
            format: FORMAT_VERSION.into(),
        })
    }

    /// By name: what this process has opened already, or joined, or created, as `wanted` says.
    pub(super) fn meet(&self, name: &str, wanted: Wanted) -> Result<Domain, DomainError> {
        let name = Name::new(name)?;
        // A process is one member of a domain, however often it opens it.
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|known| known.member.strong_count() != 0);
        if wanted != Wanted::New {
            let same = |known: &&Opened| {
                (known.addresses, known.name.as_str()) == (self.addresses, name.as_str())
                    && known.place == self.place
            };
            let member = opened.iter().find(same).and_then(|known| Handle::of(&known.member));
            if let Some(member) = member.filter(|member| member.here()) {
                member.allow_lending(self.cross_memory);
                return Ok(Domain { member, wait: self.wait, cross_memory: self.cross_memory });
            }
        }
        let site = Site::new(&self.place)?;
        let format = FORMAT_VERSION.into();
        let known_as = name.as_str().to_owned();
        let domain = match door::open(&site, &name, wanted, format, self.patience)? {
            door::Opened::Created(listener) => {
                self.create_with(Entrance::created(site, name, listener, format))?
            }
            door::Opened::Joined(welcome) => {
                let (entrance, file, payload) = Entrance::joined(site, Some(name), welcome, format);
                self.join_with(entrance, file, Some(&payload))?
            }
        };
        opened.push(Opened {
            place: self.place.clone(),
            name: known_as,
            addresses: self.addresses,
            member: domain.member.downgrade(),
        });
        Ok(domain)
    }

    /// Joins what `launched!()` has mapped before `main`.
    pub(super) fn join_inherited(&self) -> Result<Domain, DomainError> {
        let Inherited { mapping, welcome } = launch::inherited()?;
        let format = FORMAT_VERSION.into();
        let (entrance, file, payload) = Entrance::joined(Site::new(&self.place)?, None, welcome, format);
        self.enter(entrance, window::adopt(file, mapping)?, Some(&payload))
    }

    /// Builds the domain in a file that nobody else knows, and publishes it last.
    pub(super) fn create_with(&self, entrance: Entrance) -> Result<Domain, DomainError> {
        let budget = self.budget()?;
        let (segment, base) = window::create(self.window_bytes, self.window_base)?;
        let name = entrance.name.as_ref().map(Name::as_str);
        window::publish(&segment, name, base, budget, self.retain_bytes.unwrap_or(budget / 4))?;
        self.enter(entrance, References::new(segment, base), None)
    }

    /// Joins by the domain's file; `payload` is what a member's welcome said, if one gave it.
    pub(super) fn join_with(
        &self,
        entrance: Entrance,
        file: OwnedFd,
        payload: Option<&[u8]>,
    ) -> Result<Domain, DomainError> {
        self.enter(entrance, window::join(file, self.addresses)?, payload)
    }

    /// Takes a slot, starts the service, and is a member.
    fn enter(
        &self,
        mut entrance: Entrance,
        refs: References,
        payload: Option<&[u8]>,
    ) -> Result<Domain, DomainError> {
        let guard = ForkGuard::new()?;
        let file = refs.segment().file().try_clone_to_owned().map_err(DomainError::Descriptor)?;
        let file = memfd::keep_here(file)?;
        let name = entrance.name.as_ref().map(|name| name.as_str().to_owned());
        let full = || DomainError::TooManyProcesses { max: PROCESSES_MAX };
        // A welcome reserves a slot; one without means that all are taken.
        let (reserved, stake) = match payload {
            Some(payload) => {
                let number = entrance.stake.as_ref().map_or(0, |stake| stake.number);
                (Some(roster::reserved_slot(payload).ok_or_else(full)?), number)
            }
            None => (None, entrance.stake.insert(entrance.site.stake()?).number),
        };
        let member = Member::join(refs, name, guard, reserved, stake).ok_or_else(full)?;
        if let Some(name) = self.called() {
            write_text(&member.segment().process(member.slot.into()).name, &name);
        }
        let member = Handle::new(member);
        let service = Service::start(entrance, Arc::new(roster::Table::new(&member, file)))?;
        let _ = member.service.set(service);
        member.allow_lending(self.cross_memory);
        let domain = Domain { member, wait: self.wait, cross_memory: self.cross_memory };
        if self.prefault_bytes != 0 {
            domain.prefault(self.prefault_bytes)?;
        }
        Ok(domain)
    }

    /// What this process is called, if not like its program.
    fn called(&self) -> Option<String> {
        let launched = || launch::identity().map(|identity| identity.name).filter(|name| !name.contains('/'));
        self.process_name.clone().or_else(launched)
    }

    /// Bytes that messages may occupy: what is chosen, or half of what there is.
    fn budget(&self) -> Result<u64, DomainError> {
        let mut limit = machine::memory_bytes();
        let mut source_of_limit = "the machine's memory";
        if let Some(cgroup) = machine::cgroup_memory_limit_bytes().filter(|bytes| *bytes < limit) {
            limit = cgroup;
            source_of_limit = "the memory limit of this control group";
        }
        if matches!(machine::overcommit(), Some(machine::Overcommit::Never)) {
            if let Some(left) = machine::commit_left_bytes().filter(|bytes| *bytes < limit) {
                limit = left;
                source_of_limit = "what vm.overcommit_memory=2 leaves to commit";
            }
        }
        match self.memory_max_bytes {
            Some(bytes) if bytes > limit => Err(DomainError::Budget { bytes, limit, source_of_limit }),
            Some(bytes) => Ok(bytes),
            None => Ok(limit / 2),
        }
    }
}
