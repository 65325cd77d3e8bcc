//! Colours, only where they help: on a terminal, and not when NO_COLOR is set.

use std::io::IsTerminal;

/// How text is emphasised.
#[derive(Clone, Copy)]
pub struct Style {
    on: bool,
}

impl Style {
    /// What the standard output can show.
    pub fn of_stdout() -> Style {
        // https://no-color.org: set and not empty means no colour.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Style { on: std::io::stdout().is_terminal() && !refused && !dumb }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.on {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// A title.
    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// A remark.
    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Something good.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Something bad.
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// A bar.
    pub fn bar(self, text: &str) -> String {
        self.paint("36", text)
    }
}
