//! The channel that a command is about: `DOMAIN/CHANNEL`, found, waited for, or made.

use crate::data::layout;
use crate::failure::Failure;
use crate::interrupt;
use clap::Args;
use staffetta::message::Schema;
use staffetta::{
    inspect, AttachError, Carries, ChannelBuilder, Domain, DomainError, DomainOptions, OpenError,
};
use std::path::PathBuf;
use std::time::Duration;

/// How often a command that waits looks again.
pub const AGAIN: Duration = Duration::from_millis(100);

/// Which channel, and what is expected of it.
#[derive(Debug, Args)]
pub struct Target {
    /// The channel: the name of its domain, a slash, and its own
    #[arg(value_name = "DOMAIN/CHANNEL", value_parser = split)]
    channel: (String, String),
    /// Wait until there is such a channel
    #[arg(long)]
    wait: bool,
    /// Refuse a channel of other messages than this type: its name, or the last part of it
    #[arg(long, value_name = "NAME", conflicts_with = "layout")]
    r#type: Option<String>,
    /// Refuse a channel of another layout; make the channel (and the domain) if there is none
    ///
    /// u64, f32, bool …, [f32; 3], [u8], or the text that `staffetta inspect DOMAIN/CHANNEL` prints.
    #[arg(long, value_parser = layout::parse)]
    layout: Option<Schema>,
    /// With --layout: the channel carries parcels that hold such messages
    #[arg(long, requires = "layout")]
    parcels: bool,
    /// With --layout: a channel in which so many messages may wait [default: none, a rendezvous]
    #[arg(long, value_name = "K", requires = "layout")]
    degree: Option<u64>,
    /// The directory where the domain's name is kept, if it was opened by one
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// `DOMAIN/CHANNEL`; a channel's name may have slashes, a domain's has none.
pub fn split(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((domain, channel)) if !domain.is_empty() && !channel.is_empty() => {
            Ok((domain.to_owned(), channel.to_owned()))
        }
        _ => Err("name a channel as DOMAIN/CHANNEL; `staffetta list` tells which there are".to_owned()),
    }
}

impl Target {
    /// For people.
    pub fn name(&self) -> String {
        format!("{}/{}", self.channel.0, self.channel.1)
    }

    /// What is to be attached, if that was said.
    fn carries(&self) -> Option<Carries> {
        let schema = self.layout.clone()?;
        Some(if self.parcels { Carries::Parcels(schema) } else { Carries::Values(schema) })
    }

    fn options(&self) -> DomainOptions {
        let options = Domain::options();
        match &self.directory {
            Some(directory) => options.directory(directory),
            None => options,
        }
    }

    /// Attaches an end: `existing` to what is there, `of` to what was said.
    pub fn attach<E>(
        &self,
        existing: impl Fn(ChannelBuilder<'_>) -> Result<E, AttachError>,
        of: impl Fn(ChannelBuilder<'_>, &Carries) -> Result<E, AttachError>,
    ) -> Result<E, Failure> {
        let carries = self.carries();
        let domain = self.domain(carries.is_some())?;
        loop {
            let channel = domain.channel(&self.channel.1);
            let channel = match (self.degree, &carries) {
                (Some(degree), Some(_)) => channel.buffered(degree),
                _ => channel,
            };
            let attached = match &carries {
                Some(carries) => of(channel, carries),
                None => match (channel.carries(), &self.r#type) {
                    (Err(error), _) => Err(error),
                    // Before an end is attached: whoever holds the other would see it come and go.
                    (Ok(carries), Some(asked)) => {
                        self.check_type(asked, carries.schema())?;
                        existing(channel)
                    }
                    (Ok(_), None) => existing(channel),
                },
            };
            match attached {
                Ok(end) => return Ok(end),
                Err(AttachError::NoChannel { .. }) if self.wait => self.wait_a_little()?,
                Err(error @ AttachError::NoChannel { .. }) => {
                    let advice = "wait for it with --wait, or make it with --layout";
                    return Err(Failure::Usage(format!("{error}; {advice}")));
                }
                Err(error @ (AttachError::Mismatch { .. } | AttachError::Name { .. })) => {
                    return Err(Failure::Usage(error.to_string()))
                }
                Err(error) => return Err(Failure::Environment(error.to_string())),
            }
        }
    }

    fn domain(&self, make: bool) -> Result<Domain, Failure> {
        let name = &self.channel.0;
        loop {
            let opened = if make { self.options().open(name) } else { self.options().join(name) };
            match opened {
                Ok(domain) => return Ok(domain),
                Err(DomainError::Open(OpenError::NoSuchDomain { .. })) if self.wait => {
                    self.wait_a_little()?
                }
                Err(DomainError::Open(OpenError::NoSuchDomain { .. })) => {
                    return Err(Failure::Usage(no_domain(name)));
                }
                Err(error @ DomainError::Name(_)) => return Err(Failure::Usage(error.to_string())),
                Err(error) => return Err(Failure::Environment(error.to_string())),
            }
        }
    }

    fn wait_a_little(&self) -> Result<(), Failure> {
        interrupt::check()?;
        std::thread::sleep(AGAIN);
        Ok(())
    }

    fn check_type(&self, asked: &str, there: &Schema) -> Result<(), Failure> {
        // `my_camera::Frame@1` is meant by itself, without its version, and by its last parts.
        let identity = there.identity();
        let plain = identity.as_ref().rsplit_once('@').map_or(identity.as_ref(), |(path, _)| path);
        let ends = |whole: &str| whole == asked || whole.ends_with(&format!("::{asked}"));
        if ends(&identity) || ends(plain) {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "channel {} is of other messages than asked for\n  asked: {asked}\n  there: {}\n  layout: {there}",
            self.name(),
            there.pretty().trim_end().replace('\n', "\n  "),
        )))
    }
}

fn no_domain(name: &str) -> String {
    let all = inspect::domains();
    let mut names: Vec<String> = all.iter().filter_map(|found| found.name.clone()).collect();
    names.dedup();
    let there = match names.as_slice() {
        [] => "there is no other either".to_owned(),
        names => format!("there are {}", names.join(", ")),
    };
    format!("there is no domain {name:?}; {there}; wait for it with --wait, or make it with --layout")
}
