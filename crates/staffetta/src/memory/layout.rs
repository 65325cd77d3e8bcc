//! `docs/layout.md` against the code: every offset, every size, every number.

use super::{header, map, word};

/// What the compiler made of a shared type.
pub struct Layout {
    pub name: &'static str,
    pub bytes: usize,
    /// (offset, bytes, name).
    pub fields: Vec<(usize, usize, &'static str)>,
}

/// The type of a field, by a way to reach it.
pub const fn bytes_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! layout {
    ($name:ident $(<$platform:ty>)? { $($field:ident),* }) => {{
        type Type = $name $(<$platform>)?;
        crate::memory::layout::Layout {
            name: stringify!($name),
            bytes: size_of::<Type>(),
            fields: vec![$((
                std::mem::offset_of!(Type, $field),
                crate::memory::layout::bytes_of_field(|all: &Type| &all.$field),
                stringify!($field),
            )),*],
        }
    }};
}
pub(crate) use layout;

fn all() -> Vec<Layout> {
    [
        crate::memory::header::layouts(),
        crate::memory::note::layouts(),
        crate::process::pcb::layouts(),
        crate::process::ready_set::layouts(),
        crate::enclosure::table::layouts(),
        crate::channel::line::layouts(),
        crate::channel::side::layouts(),
        crate::channel::tally::layouts(),
        crate::channel::record::layouts(),
        crate::channel::ring::layouts(),
        crate::channel::crowd::layouts(),
        crate::channel::broadcast::layouts(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Every number of the document's tables of constants.
fn constants() -> Vec<(String, u64)> {
    macro_rules! values {
        ($($($part:ident)::+),* $(,)?) => {
            vec![$((stringify!($($part)::+).replace(' ', ""), u64::try_from($($part)::+).unwrap())),*]
        };
    }
    use crate::channel::{line, record, side};
    let mut all = values![
        header::MAGIC,
        header::FORMAT_VERSION,
        header::BYTE_ORDER,
        word::SEQUENCE_BITS,
        map::PROCESSES,
        map::PROCESSES_MAX,
        map::PROCESS_BYTES,
        map::PCBS,
        map::PCBS_MAX,
        map::PCB_BYTES,
        map::BUCKET_HEADS,
        map::BUCKETS,
        map::CHANNELS,
        map::CHANNELS_MAX,
        map::CHANNEL_BYTES,
        map::SCHEMAS,
        map::SCHEMAS_BYTES,
        map::CAPABILITIES,
        map::CAPABILITIES_MAX,
        map::CAPABILITY_BYTES,
        map::SELECTS,
        map::SELECTS_MAX,
        map::SELECT_BYTES,
        map::ENTRIES,
        map::ENTRIES_MAX,
        map::ENTRY_BYTES,
        map::BLOCK_RECORD_BYTES,
        map::NOTE_BYTES,
        map::CLASS_MIN,
        map::CLASS_LARGE,
        map::CLASS_MAX,
        map::WINDOW_MIN,
        map::WINDOW_MAX,
        header::process::FREE,
        header::process::JOINING,
        header::process::LIVE,
        header::process::DEAD,
        header::block::NEVER,
        header::block::FREE,
        header::block::OWNED,
        header::block::CHANNEL,
        header::block::ENCLOSED,
        header::block::RETURNED,
        record::state::FREE,
        record::state::BUILDING,
        record::state::NAMED,
        record::state::UNNAMED,
        record::state::UNMAKING,
        side::ABSENT,
        side::ATTACHED,
        side::LEFT,
        side::DIED,
        line::IDLE,
        line::OFFER,
        line::WANT,
        line::TAKING,
        line::GIVING,
        line::ABANDONED,
        line::brings::CELL,
        line::brings::VARIABLE,
        line::brings::TAKING,
        line::brings::GIVING,
        line::brings::RESERVED,
        line::brings::FORSAKEN,
    ];
    let more = crate::reference::constants().into_iter().chain(crate::channel::ring::states());
    let more = more.chain(crate::succession::states());
    let more = more.chain(crate::channel::queue::states()).chain(crate::channel::broadcast::words());
    let more = more.chain(crate::channel::service::states()).chain(crate::enclosure::table::states());
    let more = more.chain(crate::channel::waits::codes());
    all.extend(more.map(|(name, value)| (name.to_owned(), value)));
    all
}

fn document() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/layout.md")).unwrap()
}

fn cells(line: &str) -> Option<Vec<&str>> {
    Some(
        line.strip_prefix('|')?
            .strip_suffix('|')?
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect(),
    )
}

#[test]
fn the_document_says_what_the_compiler_made() {
    let document = document();
    let layouts = all();
    for layout in &layouts {
        let heading = format!("## {}, {} bytes", layout.name, layout.bytes);
        let (_, section) = document
            .split_once(&format!("{heading}\n"))
            .unwrap_or_else(|| panic!("docs/layout.md has no heading `{heading}`"));
        let section = section.split("\n## ").next().unwrap();
        let rows: Vec<_> = section
            .lines()
            .filter_map(cells)
            .filter_map(|cells| Some((cells[0].parse().ok()?, cells[1].parse().ok()?, cells[2])))
            .collect();
        assert_eq!(rows, layout.fields, "the table of {}", layout.name);
        // No hole that the table does not show.
        let mut end = 0;
        for (offset, bytes, name) in &layout.fields {
            assert_eq!(*offset, end, "{}: before {name}", layout.name);
            end = offset + bytes;
        }
        assert_eq!(end.next_multiple_of(64), layout.bytes.next_multiple_of(64), "{}: its end", layout.name);
    }
    let headings = document.lines().filter(|line| line.starts_with("## ") && line.ends_with(" bytes"));
    assert_eq!(headings.count(), layouts.len(), "a table of a type that is not checked");
}

#[test]
fn the_document_has_the_numbers_of_the_code() {
    let document = document();
    let mut found = Vec::new();
    for cells in document.lines().filter_map(cells) {
        if cells.len() == 3 && cells[0].contains("::") {
            let value = match cells[1].strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16),
                None => cells[1].parse(),
            };
            found.push((cells[0].to_owned(), value.unwrap_or_else(|_| panic!("{cells:?}"))));
        }
    }
    // The document has its own order.
    let mut constants = constants();
    found.sort();
    constants.sort();
    assert_eq!(found, constants);
    let title = format!("# The shared layout, version {}\n", header::FORMAT_VERSION);
    assert!(document.starts_with(&title), "{title}");
}

#[test]
#[ignore = "prints what the tables should hold, for whoever changes the layout"]
fn print_the_layout() {
    for layout in all() {
        println!("## {}, {} bytes", layout.name, layout.bytes);
        for (offset, bytes, name) in layout.fields {
            println!("| {offset} | {bytes} | `{name}` | |");
        }
    }
    for (name, value) in constants() {
        println!("| `{name}` | {value} | |");
    }
}
