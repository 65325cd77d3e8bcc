//! Steps victims through the operations, and kills them at every point.
//!
//! First pass: the victim is stepped from mark to mark; after every instruction the domain's memory is compared with what it
//! was. Where it changed, and at every system call, is a *point*: (instruction, how often it had been executed), which a fresh
//! victim reaches at full speed by a hardware breakpoint. Second pass: for each point a fresh victim in the same starting
//! state is killed there, by a real SIGKILL, and the others say what they find.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::peer::Report;
use super::tracer::{Stop, Traced};
use super::world::{scene, Failed, World};
use crate::torture::line::Fault;
use crate::torture::wait::EVER;

/// How long a victim may be busy, at full speed, before it is taken to wait for somebody.
const BUSY: Duration = Duration::from_millis(3);
/// Instructions without a point, after which it is taken to wait for somebody.
const BUSY_STEPS: u64 = 3_000;
/// Instructions of one operation.
const STEPS_MAX: u64 = 400_000;

/// How often the survivor does what the victim waits for.
const NUDGES: u32 = 12;
/// Scenes in one domain.
const SCENES: u32 = 20;

/// Where a victim can be killed so that the others see another image than before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// Before the first instruction.
    Begin,
    /// After an instruction that changed memory, or a system call, when it was executed so many times.
    After { rip: u64, times: u32 },
    /// While it sleeps in the kernel for the n-th time.
    Asleep(u32),
    /// After the last instruction.
    End,
}

/// What the first pass found.
pub struct Survey {
    /// Instructions after which the memory was compared.
    pub images: u64,
    pub points: Vec<Point>,
    /// What the victim says that it did.
    pub outcome: u64,
    /// It waited for somebody: where it is then found is not always the same.
    pub waited: bool,
    /// It asked others: it may come to a point on another way.
    pub asked: bool,
}

/// How often one that asks others is killed at a point, if less has happened than before: it may have come there on another way.
const WAYS: u32 = 6;

/// Steps a fresh victim through all of it.
pub fn survey(world: &mut World, number: usize) -> Result<Survey, Failed> {
    let mut victim = world.stage(number)?;
    world.shadow.refresh();
    let mut survey =
        Survey { images: 1, points: vec![Point::Begin], outcome: 0, waited: false, asked: false };
    let mut executed: HashMap<u64, u32> = HashMap::new();
    let (mut sleeps, mut quiet, mut nudged) = (0, 0, 0);
    let mut next = victim.registers();
    loop {
        if Traced::is_at_mark(next.rip) {
            break survey.outcome = next.rdi;
        }
        let at = next.rip;
        let syscall = Traced::is_at_syscall(at);
        survey.asked |= syscall && next.rax == libc::SYS_sendmsg as u64;
        let times = executed.entry(at).or_insert(0);
        *times += 1;
        let times = *times;
        let began = Instant::now();
        let mut slept = false;
        while let stop @ (Stop::Asleep | Stop::Busy | Stop::Signal(_) | Stop::Gone { .. }) =
            victim.step(syscall, EVER)
        {
            match stop {
                Stop::Asleep if began.elapsed() < EVER => {
                    if !slept {
                        slept = true;
                        sleeps += 1;
                        survey.points.push(Point::Asleep(sleeps));
                    }
                    nudge(world, &mut nudged)?;
                }
                other => {
                    victim.kill();
                    return Err(Failed(format!("step {} at {at:#x}: {other:?}", survey.images)));
                }
            }
        }
        survey.images += 1;
        quiet += 1;
        if world.shadow.has_changed() || syscall {
            survey.points.push(Point::After { rip: at, times });
            quiet = 0;
        }
        if quiet > BUSY_STEPS {
            quiet = 0;
            nudge(world, &mut nudged)?;
        }
        if survey.images > STEPS_MAX {
            victim.kill();
            return Err(Failed("it does not end".into()));
        }
        next = victim.registers();
    }
    survey.points.push(Point::End);
    survey.waited = nudged > 0;
    victim.kill();
    Ok(survey)
}

fn nudge(world: &mut World, nudged: &mut u32) -> Result<(), Failed> {
    if *nudged < NUDGES {
        *nudged += u32::from(world.nudge()?);
    }
    Ok(())
}

/// Where a victim was brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached {
    /// The point.
    Point,
    /// The end, with this outcome.
    End(u64),
}

/// Brings a victim to a point, or to the end if it does not come there.
///
/// `past`: past the point's instruction; else it stands before it, with all that it has read for it.
pub fn bring(world: &mut World, victim: &mut Traced, point: Point, past: bool) -> Result<Reached, Failed> {
    let mut to_come = match point {
        Point::Begin => return Ok(Reached::Point),
        Point::After { rip, times } => {
            if !victim.set_breakpoint(rip) {
                return Err(Failed("there are no hardware breakpoints here".into()));
            }
            times
        }
        _ => 0,
    };
    let (mut sleeps, mut nudged) = (0, 0);
    let begun = Instant::now();
    loop {
        match victim.run(BUSY) {
            Stop::Here => {
                let registers = victim.registers();
                match point {
                    Point::After { rip, .. } if registers.rip == rip => {
                        to_come -= 1;
                        if to_come == 0 {
                            break;
                        }
                    }
                    _ => return Ok(Reached::End(registers.rdi)),
                }
            }
            Stop::Asleep => {
                sleeps += 1;
                if point == Point::Asleep(sleeps) {
                    return Ok(Reached::Point);
                }
                nudge(world, &mut nudged)?;
            }
            Stop::Busy => nudge(world, &mut nudged)?,
            other => return Err(Failed(format!("on its way to {point:?}: {other:?}"))),
        }
        if begun.elapsed() > EVER {
            return Err(Failed(format!("it does not come to {point:?}")));
        }
    }
    victim.clear_breakpoint();
    if !past {
        return Ok(Reached::Point);
    }
    // The instruction itself; one that sleeps is another point.
    let syscall = Traced::is_at_syscall(victim.registers().rip);
    while let stop @ (Stop::Asleep | Stop::Busy | Stop::Signal(_) | Stop::Gone { .. }) =
        victim.step(syscall, EVER)
    {
        match stop {
            Stop::Asleep => nudge(world, &mut nudged)?,
            other => return Err(Failed(format!("at {point:?}: {other:?}"))),
        }
        if begun.elapsed() > EVER {
            return Err(Failed(format!("it does not come past {point:?}")));
        }
    }
    Ok(Reached::Point)
}

/// Kills a fresh victim at a point.
pub fn kill_at(world: &mut World, number: usize, point: Point) -> Result<(Reached, Report), Failed> {
    let mut victim = world.stage(number)?;
    let reached = bring(world, &mut victim, point, true);
    victim.kill();
    let reached = reached?;
    Ok((reached, world.conclude(scene(number).lingering())?))
}

/// Stops a fresh victim at a point; lets it go on when the others have gone on.
fn stop_at(world: &mut World, number: usize, point: Point, past: bool) -> Result<(Reached, Report), Failed> {
    let mut victim = world.stage(number)?;
    let reached = match bring(world, &mut victim, point, past) {
        Ok(reached) => reached,
        Err(failed) => {
            victim.kill();
            return Err(failed);
        }
    };
    victim.leave_stopped();
    let meanwhile = world.ask("meanwhile");
    let outcome = world.finish(&mut victim)?;
    let mut report = world.conclude(scene(number).lingering())?;
    report.faults.extend(meanwhile?.faults);
    if report.outcome.is_some_and(|found| found != outcome) {
        let what = format!("it says {outcome}, the others {:?}", report.outcome);
        report.fault(Fault::Wrong, what);
    }
    Ok((reached, report))
}

/// What a scene came to.
#[derive(Default)]
pub struct Found {
    pub images: u64,
    pub points: u64,
    /// Kills that came at another point than planned.
    pub missed: u64,
    pub faults: Vec<(Fault, String)>,
    /// Points that were left out: too many of one scene.
    pub skipped: u64,
}

impl Found {
    /// Something is wrong. Whatever it left behind must not be laid at another's door.
    pub fn fail(&mut self, world: &mut Option<World>, number: usize, fault: Fault, at: &str, what: &str) {
        self.faults.push((fault, format!("{}, {at}: {what}", scene(number).name())));
        *world = None;
    }
}

/// Steps a victim through all of a scene, and says what the others find at the end.
pub fn first_pass(world: &mut Option<World>, number: usize, found: &mut Found) -> Option<Survey> {
    if world.as_ref().is_some_and(|world| world.scenes >= SCENES) {
        *world = None;
    }
    let it = world.get_or_insert_with(World::new);
    it.scenes += 1;
    match survey(it, number).and_then(|survey| Ok((it.conclude(scene(number).lingering())?, survey))) {
        Ok((report, survey)) => {
            for (fault, what) in report.faults {
                found.fail(world, number, fault, "end", &what);
            }
            Some(survey)
        }
        Err(Failed(why)) => {
            found.fail(world, number, Fault::Wrong, "first pass", &why);
            None
        }
    }
}

/// Is point `i` of so many among the `most` that are tried? The last one always is.
fn is_sampled(i: usize, of: usize, most: usize) -> bool {
    i.is_multiple_of(of.div_ceil(most)) || i + 1 == of
}

/// Stops at all points of a scene, or at one.
pub fn stops(world: &mut Option<World>, number: usize, only: Option<usize>, most: usize) -> Found {
    let mut found = Found::default();
    let Some(survey) = first_pass(world, number, &mut found) else {
        return found;
    };
    found.images = survey.images;
    for (i, point) in survey.points.iter().enumerate() {
        if only.is_some_and(|only| only != i) {
            continue;
        }
        if only.is_none() && !is_sampled(i, survey.points.len(), most) {
            found.skipped += 1;
            continue;
        }
        for past in [false, true] {
            let before = if past { "" } else { "before " };
            let at = format!("stopped {before}{i} of {} ({point:?})", survey.points.len());
            let it = world.get_or_insert_with(World::new);
            found.points += 1;
            match stop_at(it, number, *point, past) {
                Ok((reached, report)) => {
                    found.missed += u64::from(reached != Reached::Point && *point != Point::End);
                    for (fault, what) in report.faults {
                        found.fail(world, number, fault, &at, &what);
                    }
                }
                Err(Failed(why)) => found.fail(world, number, Fault::Hung, &at, &why),
            }
            if !matches!(point, Point::After { .. }) {
                break;
            }
        }
    }
    found
}

/// Kills at all points of a scene, or at one.
pub fn images(world: &mut Option<World>, number: usize, only: Option<usize>, most: usize) -> Found {
    let mut found = Found::default();
    let Some(survey) = first_pass(world, number, &mut found) else {
        return found;
    };
    found.images = survey.images;
    let mut highest = 0;
    for (i, point) in survey.points.iter().enumerate() {
        if only.is_some_and(|only| only != i) {
            continue;
        }
        if only.is_none() && !is_sampled(i, survey.points.len(), most) {
            found.skipped += 1;
            continue;
        }
        let at = format!("at {i} of {} ({point:?})", survey.points.len());
        found.points += 1;
        let mut ways = if survey.asked { WAYS } else { 1 };
        let killed = loop {
            let killed = kill_at(world.get_or_insert_with(World::new), number, *point);
            ways -= 1;
            let less = |report: &Report| report.outcome.is_some_and(|outcome| outcome < highest);
            match &killed {
                Ok((Reached::Point, report)) if ways > 0 && report.faults.is_empty() && less(report) => {}
                _ => break killed,
            }
        };
        match killed {
            Ok((reached, report)) => {
                found.missed += u64::from(reached != Reached::Point && *point != Point::End);
                for (fault, what) in report.faults {
                    found.fail(world, number, fault, &at, &what);
                }
                let Some(outcome) = report.outcome else {
                    continue;
                };
                if only.is_some() {
                    println!("note outcome {outcome} at {point:?}");
                }
                let right = match (reached, point) {
                    (Reached::End(at_end), _) => outcome == at_end,
                    (_, Point::Begin) => outcome == 0,
                    _ if scene(number).may_happen_more() => true,
                    _ => (outcome >= highest || survey.waited) && outcome <= survey.outcome,
                };
                if !right {
                    let what = format!(
                        "outcome {outcome} after {highest}; {reached:?}, at the end {}",
                        survey.outcome
                    );
                    found.fail(world, number, Fault::Wrong, &at, &what);
                }
                if reached == Reached::Point {
                    highest = highest.max(outcome);
                }
            }
            Err(Failed(why)) => found.fail(world, number, Fault::Wrong, &at, &why),
        }
    }
    found
}
