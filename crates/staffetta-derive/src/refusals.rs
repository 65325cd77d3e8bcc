//! The field types that can never be sent, and what to say about them.
//!
//! A macro sees how a type is spelled, not what it is. So only the language's own syntax (`&T`,
//! `*const T`, `fn()`, `dyn T`) and well-known names of the standard library are refused here, and the
//! latter only if written bare or with a path into the standard library: `heapless::Vec` passes, and
//! the compiler decides whether it is a message.

use quote::ToTokens;
use syn::{Error, GenericArgument, PathArguments, Type, TypePath};

/// Why a type cannot be sent.
enum Reason {
    /// It is an address.
    Address,
    /// It owns memory elsewhere.
    Heap,
    /// It means something to one process's kernel objects or threads only.
    Process,
    /// It may be modified through shared references, which a message must not be.
    Cell,
}

/// Names of the standard library, with the reason. `bare` is whether the name stands without a path.
fn reason_of_name(name: &str, bare: bool) -> Option<Reason> {
    Some(match name {
        "Box" | "Vec" | "String" | "VecDeque" | "LinkedList" | "HashMap" | "HashSet" | "BTreeMap"
        | "BTreeSet" | "BinaryHeap" | "Rc" | "Arc" | "Cow" | "OsString" | "PathBuf" | "CString" => {
            Reason::Heap
        }
        "NonNull" => Reason::Address,
        "OwnedFd" | "RawFd" | "BorrowedFd" | "TcpStream" | "TcpListener" | "UdpSocket" | "UnixStream"
        | "UnixListener" | "UnixDatagram" | "JoinHandle" => Reason::Process,
        "Mutex" | "RwLock" | "Condvar" | "OnceLock" | "LazyLock" | "RefCell" | "OnceCell" | "LazyCell"
        | "UnsafeCell" => Reason::Cell,
        // A program may well have a type of its own by one of these names.
        _ if bare => return None,
        "Weak" | "Pin" | "Waker" => Reason::Address,
        "File" | "Thread" | "ThreadId" | "Instant" => Reason::Process,
        "Once" | "Barrier" | "Cell" => Reason::Cell,
        _ => return None,
    })
}

/// The error for a field whose type can never be sent, if it is one; `field` is its name as the user
/// knows it, such as `pixels` or `Shape::Circle.radius`.
pub fn refuse(field: &str, ty: &Type) -> Option<Error> {
    let (part, reason) = find(ty)?;
    let spelled = spell(part);
    let why = match reason {
        Reason::Address => format!(
            "`{spelled}` is an address in this process's private memory, which means nothing in another process"
        ),
        Reason::Heap => format!(
            "`{spelled}` holds an address of this process's private memory, which means nothing in another process"
        ),
        Reason::Process => format!(
            "`{spelled}` means something in this process only; another process has its own descriptors, threads and clocks"
        ),
        Reason::Cell => format!(
            "`{spelled}` relies on the threads of one process, and a message has one holder at a time"
        ),
    };
    let how = match reason {
        Reason::Address | Reason::Heap => {
            "use a fixed array `[T; N]`, let the struct end in a slice `[T]`, refer to a `Parcel`, or keep an index"
        }
        Reason::Process => "send a number that both processes understand",
        Reason::Cell => "use the plain value: the holder of a message may modify it",
    };
    Some(Error::new_spanned(part, format!("field `{field}` cannot be part of a message: {why}\nhelp: {how}")))
}

/// The first part of `ty` that cannot be sent, and why.
fn find(ty: &Type) -> Option<(&Type, Reason)> {
    let found = |reason| Some((ty, reason));
    match ty {
        Type::Reference(_) | Type::Ptr(_) | Type::FnPtr(_) => found(Reason::Address),
        Type::TraitObject(_) | Type::ImplTrait(_) => found(Reason::Address),
        Type::Array(array) => find(&array.elem),
        Type::Slice(slice) => find(&slice.elem),
        Type::Paren(inner) => find(&inner.elem),
        Type::Group(inner) => find(&inner.elem),
        Type::Tuple(tuple) => tuple.elems.iter().find_map(find),
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            let name = last.ident.to_string();
            if !is_standard(path) {
                return None;
            }
            if let Some(reason) = reason_of_name(&name, path.path.segments.len() == 1) {
                return found(reason);
            }
            // These are messages if what they hold is. Other types may take a parameter as a mere
            // marker, as `PhantomData` does.
            if matches!(name.as_str(), "Option" | "Wrapping" | "Result") {
                if let PathArguments::AngleBracketed(arguments) = &last.arguments {
                    return arguments.args.iter().find_map(|argument| match argument {
                        GenericArgument::Type(ty) => find(ty),
                        _ => None,
                    });
                }
            }
            None
        }
        _ => None,
    }
}

/// Whether the path can be that of the standard library's type of this name.
fn is_standard(path: &TypePath) -> bool {
    path.qself.is_none()
        && (path.path.segments.len() == 1
            || path
                .path
                .segments
                .first()
                .is_some_and(|first| ["std", "core", "alloc"].iter().any(|name| first.ident == name)))
}

/// The type as its author would write it, more or less.
fn spell(ty: &Type) -> String {
    let mut text = ty.to_token_stream().to_string();
    for (spaced, tight) in [
        (" < ", "<"),
        (" >", ">"),
        (" :: ", "::"),
        (":: ", "::"),
        ("& ", "&"),
        ("* ", "*"),
        ("' ", "'"),
        (" ,", ","),
        (" ;", ";"),
        (" (", "("),
    ] {
        text = text.replace(spaced, tight);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(ty: &str) -> Option<String> {
        refuse("f", &syn::parse_str(ty).unwrap()).map(|error| error.to_string())
    }

    #[test]
    fn what_points_is_refused_by_name() {
        for ty in [
            "&'static str",
            "*const u8",
            "*mut u8",
            "fn(u8)",
            "Box<dyn Fn()>",
            "Vec<u8>",
            "std::string::String",
            "::std::rc::Rc<u8>",
            "[String; 4]",
            "(u8, Vec<u8>)",
            "Option<Box<u8>>",
            "[Vec<u8>]",
            "Option<[(u8, Arc<u8>); 2]>",
            "NonNull<u8>",
            "OwnedFd",
            "Mutex<u8>",
        ] {
            let text = message(ty).unwrap_or_else(|| panic!("{ty} was accepted"));
            assert!(text.contains("field `f`") && text.contains("help: "), "{text}");
        }
        assert!(message("Vec<u8>").unwrap().contains("`Vec<u8>` holds an address"));
    }

    #[test]
    fn what_only_looks_like_it_is_left_to_the_compiler() {
        for ty in [
            "u8",
            "heapless::Vec<u8, 4>",
            "PhantomData<Box<u8>>",
            "T",
            "T::Vec",
            "Meters<String>",
            "Cell",
            "Instant",
        ] {
            assert_eq!(message(ty), None, "{ty}");
        }
    }
}
