//! Steps a sweeper through the sweep of a dead process, and kills it at every point; then others sweep both.
//!
//! The first victim stands at a point of its operation, chosen by the seed. Survivor and bystander are stopped, so that nobody
//! else sweeps; the victim is killed; the service thread of a fresh member learns of it, and is stepped from there until it
//! sleeps again. For each point of that a fresh sweeper is killed there, and the others, who go on then, must come to the same
//! end as ever: nothing lost, nothing twice, nothing left behind. Every second time another process is killed with the victim.

use std::collections::HashMap;
use std::time::Instant;

use super::driver::{bring, first_pass, Found, Point, Survey};
use super::peer::Report;
use super::tracer::{Stop, Traced};
use super::world::{scene, Failed, World};
use crate::torture::line::Fault;
use crate::torture::random::Random;
use crate::torture::wait::EVER;

/// Instructions of one sweep: of queues every lane is looked at.
const STEPS_MAX: u64 = 2_000_000;
/// Ends of operations that are swept, of each scene.
const SAMPLES: usize = 2;

/// Sweeps of some ends of a scene, each killed at all of its points, or at one; as many as there is time for.
pub fn sweeps(
    world: &mut Option<World>,
    number: usize,
    seed: u64,
    only: Option<usize>,
    until: Option<Instant>,
) -> Found {
    let mut found = Found::default();
    let Some(survey) = first_pass(world, number, &mut found) else {
        return found;
    };
    let mut random = Random::new(seed ^ (number as u64) << 32);
    for sample in 0..SAMPLES {
        let i = random.below(survey.points.len() as u64) as usize;
        let death = Death { number, point: survey.points[i], with_companion: sample % 2 == 1 };
        let at = format!("victim at {i} of {} ({:?}), sweeper", survey.points.len(), death.point);
        sweep(world, &survey, death, &at, (only, until), &mut found);
    }
    found
}

/// How the victim dies.
#[derive(Clone, Copy)]
struct Death {
    number: usize,
    point: Point,
    with_companion: bool,
}

fn sweep(
    world: &mut Option<World>,
    survey: &Survey,
    death: Death,
    at: &str,
    (only, until): (Option<usize>, Option<Instant>),
    found: &mut Found,
) {
    let number = death.number;
    let it = world.get_or_insert_with(World::new);
    let points = match in_sweep(it, death, step_through) {
        Ok(((images, points), report)) => {
            found.images += images;
            note(world, survey, number, &format!("{at} through"), report, found);
            points
        }
        Err(Failed(why)) => return found.fail(world, number, Fault::Wrong, &format!("{at} stepped"), &why),
    };
    for (i, point) in points.iter().enumerate() {
        if only.is_some_and(|only| only != i) {
            continue;
        }
        if until.is_some_and(|until| Instant::now() > until) {
            found.skipped += 1;
            continue;
        }
        let at = format!("{at} at {i} of {} ({point:?})", points.len());
        let it = world.get_or_insert_with(World::new);
        match in_sweep(it, death, |_, sweeper| run_to(sweeper, *point)) {
            Ok((reached, report)) => {
                found.points += 1;
                found.missed += u64::from(!reached);
                note(world, survey, number, &at, report, found);
            }
            Err(Failed(why)) => found.fail(world, number, Fault::Wrong, &at, &why),
        }
    }
}

fn note(
    world: &mut Option<World>,
    survey: &Survey,
    number: usize,
    at: &str,
    report: Report,
    found: &mut Found,
) {
    let outcome = report.outcome;
    for (fault, what) in report.faults {
        found.fail(world, number, fault, at, &what);
    }
    if outcome.is_some_and(|outcome| outcome > survey.outcome) && !scene(number).may_happen_more() {
        found.fail(
            world,
            number,
            Fault::Wrong,
            at,
            &format!("outcome {outcome:?}, never more than {}", survey.outcome),
        );
    }
}

/// A victim dies, a sweeper is brought somewhere in its sweep and killed, and the others say what they find.
fn in_sweep<T>(
    world: &mut World,
    death: Death,
    play: impl FnOnce(&mut World, &mut Traced) -> Result<T, Failed>,
) -> Result<(T, Report), Failed> {
    let mut victim = world.stage(death.number)?;
    let mut dying = Vec::new();
    let brought = bring(world, &mut victim, death.point, true).and_then(|_| {
        if death.with_companion {
            dying.push(world.companion()?);
        }
        world.sweeper()
    });
    dying.push(victim);
    let mut sweeper = match brought {
        Ok(sweeper) => sweeper,
        Err(failed) => {
            dying.iter_mut().for_each(Traced::kill);
            return Err(failed);
        }
    };
    world.freeze();
    dying.iter_mut().for_each(Traced::kill);
    let played = play(world, &mut sweeper);
    sweeper.kill();
    world.thaw();
    Ok((played?, world.conclude(scene(death.number).lingering())?))
}

/// Until it sleeps again: how many instructions, and the points among them.
fn step_through(world: &mut World, sweeper: &mut Traced) -> Result<(u64, Vec<Point>), Failed> {
    world.shadow.refresh();
    let mut executed: HashMap<u64, u32> = HashMap::new();
    let mut points = vec![Point::Begin];
    let mut images = 1;
    loop {
        let at = sweeper.registers().rip;
        let syscall = Traced::is_at_syscall(at);
        let times = executed.entry(at).or_insert(0);
        *times += 1;
        match sweeper.step(syscall, EVER) {
            Stop::Here => {}
            Stop::Asleep => {
                points.push(Point::End);
                return Ok((images, points));
            }
            other => return Err(Failed(format!("step {images}: {other:?}"))),
        }
        images += 1;
        if world.shadow.has_changed() || syscall {
            points.push(Point::After { rip: at, times: *times });
        }
        if images > STEPS_MAX {
            return Err(Failed("the sweep does not end".into()));
        }
    }
}

/// To a point, at full speed. False: it slept before it came there.
fn run_to(sweeper: &mut Traced, point: Point) -> Result<bool, Failed> {
    let Point::After { rip, times } = point else {
        let until = Instant::now() + EVER;
        while point == Point::End && sweeper.run(EVER) != Stop::Asleep {
            if Instant::now() > until {
                return Err(Failed("the sweep does not end".into()));
            }
        }
        return Ok(true);
    };
    if !sweeper.set_breakpoint(rip) {
        return Err(Failed("there are no hardware breakpoints here".into()));
    }
    for _ in 0..times {
        match sweeper.run(EVER) {
            Stop::Here => {}
            Stop::Asleep => return Ok(false),
            other => return Err(Failed(format!("on its way to {point:?}: {other:?}"))),
        }
    }
    sweeper.clear_breakpoint();
    let syscall = Traced::is_at_syscall(sweeper.registers().rip);
    match sweeper.step(syscall, EVER) {
        Stop::Here | Stop::Asleep => Ok(true),
        other => Err(Failed(format!("at {point:?}: {other:?}"))),
    }
}
