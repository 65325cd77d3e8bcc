//! What must not compile, and what the compiler says then.
//!
//! The expected texts depend on the compiler where they show its own errors, so this runs with the
//! stable compiler that they were written with; `TRYBUILD=overwrite` writes them anew.

#[test]
#[cfg_attr(miri, ignore = "runs the compiler")]
fn refused() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
