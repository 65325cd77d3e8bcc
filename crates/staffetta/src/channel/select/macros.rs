//! `select!` and `select_biased!`, with the syntax of crossbeam-channel, and guards.
//!
//! The cases are put into one list, `{ [recv r (pattern) (guard) (body)] ... }`; then each end is borrowed by a `match` of its
//! own, one inside the other, so that temporaries live long enough and nothing is moved. Innermost the select is made; it selects, the
//! operation is completed, the select dropped, and the body runs. No body is inside a loop or a closure: `break`, `?` and
//! `return` mean what they mean outside.

/// Waits for one of several operations, and runs its arm: the theory's alternative. Among several that are possible
/// each has its turn ([`select_biased!`](crate::select_biased): the first one).
///
/// * `recv(end) -> message => ...`: `message` is what `end.recv()` would give. Any receiving end, also within the process; a
///   [`Server`](crate::Server), which gives a request; a [`Timer`](crate::Timer); or a [`Pending`](crate::Pending) call, which gives
///   what its `wait()` would.
/// * `send(end, value) -> result => ...`: `result` is what `end.send(value)` would give. The value is computed when the
///   operation has been chosen, and moved only then.
/// * `default => ...`: nothing is possible now. `default(timeout) => ...`: nothing was in time.
///
/// After each pattern there may be a guard, `if condition`: the operation takes part if it holds.
///
/// ```
/// use staffetta::{after, select, Domain};
/// use std::time::Duration;
///
/// # let domain = Domain::create()?;
/// let (tx, rx) = domain.channel("").buffered(1).unnamed::<u32>()?;
/// let (results, _watched) = domain.channel("").buffered(1).unnamed::<u32>()?;
/// let mut sum = 0;
/// for n in 0..10 {
///     tx.send(n)?;
///     select! {
///         recv(rx) -> message => sum += message?,
///         send(results, sum) -> sent if sum > 100 => sent?,
///         recv(after(Duration::from_secs(5))) -> _ => break,
///     }
/// }
/// assert_eq!(sum, 45);
/// select! {
///     recv(rx) -> message => println!("{message:?}"),
///     default => println!("nothing"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What makes a [`Select`](crate::Select) impossible is the result of the arm: [`RecvError::Select`](crate::RecvError::Select),
/// or [`SendFailure::Select`](crate::SendFailure::Select) with the message. If no guard holds and there is no default, the
/// first arm is told so.
///
/// ```compile_fail
/// staffetta::select! {}
/// ```
#[macro_export]
macro_rules! select {
    ($($cases:tt)*) => {
        $crate::__select!(@list fair {} {} $($cases)*)
    };
}

/// As [`select!`](crate::select); of several that are possible the first one is taken, so they stand in the order of their
/// priorities.
///
/// ```
/// # let domain = staffetta::Domain::create()?;
/// let (_a, first) = domain.channel("").buffered(1).unnamed::<u32>()?;
/// let (b, second) = domain.channel("").buffered(1).unnamed::<u32>()?;
/// let (c, third) = domain.channel("").buffered(1).unnamed::<u32>()?;
/// b.send(2)?;
/// c.send(3)?;
/// staffetta::select_biased! {
///     recv(first) -> n => unreachable!("{n:?}"),
///     recv(second) -> n => assert_eq!(n?, 2),
///     recv(third) -> n => unreachable!("{n:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! select_biased {
    ($($cases:tt)*) => {
        $crate::__select!(@list biased {} {} $($cases)*)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    // The list: how, { cases }, { default }, and what is to be read.
    (@list $how:ident {} {}) => {
        compile_error!("select! needs an operation: recv(end) -> message => ..., send(end, value) -> result => ..., or default => ...")
    };
    (@list $how:ident { $($cases:tt)* } { $($default:tt)* }) => {
        $crate::__select!(@borrow $how { $($cases)* } {} { $($default)* })
    };
    (@list $how:ident $cases:tt $default:tt , $($rest:tt)*) => {
        $crate::__select!(@list $how $cases $default $($rest)*)
    };
    (@list $how:ident { $($cases:tt)* } $default:tt recv($end:expr $(,)?) -> $pattern:pat if $guard:expr => $($rest:tt)*) => {
        $crate::__select!(@body $how { $($cases)* } $default [recv ($end) () ($pattern) ($guard)] $($rest)*)
    };
    (@list $how:ident { $($cases:tt)* } $default:tt recv($end:expr $(,)?) -> $pattern:pat => $($rest:tt)*) => {
        $crate::__select!(@body $how { $($cases)* } $default [recv ($end) () ($pattern) (true)] $($rest)*)
    };
    (@list $how:ident { $($cases:tt)* } $default:tt send($end:expr, $value:expr $(,)?) -> $pattern:pat if $guard:expr => $($rest:tt)*) => {
        $crate::__select!(@body $how { $($cases)* } $default [send ($end) ($value) ($pattern) ($guard)] $($rest)*)
    };
    (@list $how:ident { $($cases:tt)* } $default:tt send($end:expr, $value:expr $(,)?) -> $pattern:pat => $($rest:tt)*) => {
        $crate::__select!(@body $how { $($cases)* } $default [send ($end) ($value) ($pattern) (true)] $($rest)*)
    };
    (@list $how:ident $cases:tt {} default => $($rest:tt)*) => {
        $crate::__select!(@body $how $cases {} [default] $($rest)*)
    };
    (@list $how:ident $cases:tt {} default() => $($rest:tt)*) => {
        $crate::__select!(@body $how $cases {} [default] $($rest)*)
    };
    (@list $how:ident $cases:tt {} default($timeout:expr $(,)?) => $($rest:tt)*) => {
        $crate::__select!(@body $how $cases {} [default ($timeout)] $($rest)*)
    };
    (@list $how:ident $cases:tt { $($default:tt)+ } default $($rest:tt)*) => {
        compile_error!("select! has two defaults")
    };
    (@list $how:ident $cases:tt $default:tt $($rest:tt)+) => {
        compile_error!(concat!(
            "this is no case of select!: ", stringify!($($rest)+), "; it is recv(end) -> message => ..., ",
            "send(end, value) -> result => ..., default => ... or default(timeout) => ..., each with a comma or a block behind it"
        ))
    };
    // The body of a case, up to a comma, or a block.
    (@body $how:ident $cases:tt $default:tt $case:tt $body:expr, $($rest:tt)*) => {
        $crate::__select!(@case $how $cases $default $case ($body) $($rest)*)
    };
    (@body $how:ident $cases:tt $default:tt $case:tt $body:block $($rest:tt)*) => {
        $crate::__select!(@case $how $cases $default $case ($body) $($rest)*)
    };
    (@body $how:ident $cases:tt $default:tt $case:tt $body:expr) => {
        $crate::__select!(@case $how $cases $default $case ($body))
    };
    (@case $how:ident $cases:tt {} [default $($timeout:tt)?] $body:tt $($rest:tt)*) => {
        $crate::__select!(@list $how $cases { $body $($timeout)? } $($rest)*)
    };
    (@case $how:ident { $($cases:tt)* } $default:tt [$($case:tt)*] $body:tt $($rest:tt)*) => {
        $crate::__select!(@list $how { $($cases)* [$($case)* $body] } $default $($rest)*)
    };
    (@how fair $select:ident) => {};
    (@how biased $select:ident) => {
        $select.set_biased()
    };
    // Each end borrowed: names of this step are of this step alone.
    (@borrow $how:ident { [$kind:ident ($end:expr) $($case:tt)*] $($cases:tt)* } { $($borrowed:tt)* } $default:tt) => {
        match $end {
            ref end => $crate::__select!(@borrow $how { $($cases)* } { $($borrowed)* [$kind end $($case)*] } $default),
        }
    };
    // Inside of all that is borrowed, the select: it goes first.
    (@borrow $how:ident {} { $($cases:tt)* } $default:tt) => {{
        #[allow(unused_mut)]
        let mut select = $crate::Select::new();
        $crate::__select!(@how $how select);
        $crate::__select!(@register select { $($cases)* } {} $default)
    }};
    (@register $select:ident { [recv $end:ident $value:tt $pattern:tt ($guard:expr) $body:tt] $($cases:tt)* } { $($arms:tt)* } $default:tt) => {{
        let operation = $select.__recv($end, $guard);
        $crate::__select!(@register $select { $($cases)* } { $($arms)* [recv $end operation $value $pattern $body] } $default)
    }};
    (@register $select:ident { [send $end:ident $value:tt $pattern:tt ($guard:expr) $body:tt] $($cases:tt)* } { $($arms:tt)* } $default:tt) => {{
        let operation = $select.__send($end, $guard);
        $crate::__select!(@register $select { $($cases)* } { $($arms)* [send $end operation $value $pattern $body] } $default)
    }};
    (@register $select:ident {} $arms:tt {}) => {{
        let chosen = $select.__select();
        $crate::__select!(@arms $select chosen $arms)
    }};
    (@register $select:ident {} $arms:tt { ($default:expr) }) => {{
        let chosen = $select.__try_select();
        $crate::__select!(@default $select chosen $arms $default)
    }};
    (@register $select:ident {} $arms:tt { ($default:expr) ($timeout:expr) }) => {{
        let chosen = $select.__select_timeout($timeout);
        $crate::__select!(@default $select chosen $arms $default)
    }};
    (@default $select:ident $chosen:ident {} $default:expr) => {{
        let _ = ($chosen, $select);
        $default
    }};
    (@default $select:ident $chosen:ident $arms:tt $default:expr) => {
        if $chosen.is_default() {
            drop($select);
            $default
        } else {
            $crate::__select!(@arms $select $chosen $arms)
        }
    };
    // The arm of the operation that was chosen.
    (@arms $select:ident $chosen:ident { [$($last:tt)*] }) => {
        $crate::__select!(@arm $select $chosen $($last)*)
    };
    (@arms $select:ident $chosen:ident { [$kind:ident $end:ident $operation:ident $($arm:tt)*] $($arms:tt)+ }) => {
        if $chosen.is($operation) {
            $crate::__select!(@arm $select $chosen $kind $end $operation $($arm)*)
        } else {
            $crate::__select!(@arms $select $chosen { $($arms)+ })
        }
    };
    (@arm $select:ident $chosen:ident recv $end:ident $operation:ident () ($pattern:pat) ($body:expr)) => {{
        let _ = $operation;
        let result = $select.__selected($chosen).recv($end);
        drop($select);
        let $pattern = result;
        $body
    }};
    (@arm $select:ident $chosen:ident send $end:ident $operation:ident ($value:expr) ($pattern:pat) ($body:expr)) => {{
        let _ = $operation;
        let value = $value;
        let result = $select.__selected($chosen).send($end, value);
        drop($select);
        let $pattern = result;
        $body
    }};
}
