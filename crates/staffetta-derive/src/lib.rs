//! `#[derive(Message)]` for Staffetta.
