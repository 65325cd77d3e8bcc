//! The generated code.
//!
//! For a type `T` it is one anonymous constant with the implementation, and with private helper types
//! where the compiler does not tell an offset:
//!
//! - A struct that ends in a slice gets a *twin* with the same `repr` and fields, and `[E; 0]` in the
//!   slice's place. `repr(C)` promises both the same offsets; the generated code also measures the real
//!   ones, at compile time, and compares.
//! - An enum gets one `repr(C)` struct per variant, and their union, as the reference defines the layout
//!   of `repr(u8)` and `repr(C, u8)`; size and alignment of the whole are compared.
//!
//! The generated code has no panic path at run time: what can be wrong is asserted in constants.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{format_ident, quote, quote_spanned, ToTokens};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Data, DataEnum, DataStruct, DeriveInput, Error, Fields, GenericParam, Generics, Ident, Member, Path,
    Result, Type,
};

use crate::attributes::{refuse_on_part, Options, Repr};
use crate::refusals::refuse;

/// The integers that an enum's discriminant can be, with their `Leaf`.
const DISCRIMINANTS: [(&str, &str); 8] = [
    ("u8", "U8"),
    ("u16", "U16"),
    ("u32", "U32"),
    ("u64", "U64"),
    ("i8", "I8"),
    ("i16", "I16"),
    ("i32", "I32"),
    ("i64", "I64"),
];

/// The implementation of `Message` for `input`.
pub fn message(input: &DeriveInput) -> Result<TokenStream> {
    let options = Options::read(input)?;
    let repr = Repr::read(&input.attrs)?;
    refuse_generics(&input.generics)?;
    refuse_fields(&input.data)?;
    let input = &without_self(input)?;

    let context = Context::new(input, options, repr);
    match &input.data {
        Data::Struct(data) => match slice_tail(data)? {
            None => Ok(context.sized_struct(data)),
            Some(element) => context.struct_with_tail(data, element),
        },
        Data::Enum(data) => context.enumeration(data),
        Data::Union(data) => Err(Error::new(
            data.union_token.span(),
            "a union cannot be a message: a receiver cannot know which of its fields was written\n\
             help: use an enum with `#[repr(u8)]`",
        )),
    }
}

/// Spells `Self` out in field types and discriminants: they are repeated in helper types, where it would
/// mean those.
fn without_self(input: &DeriveInput) -> Result<DeriveInput> {
    fn spell_out(tokens: TokenStream, name: &TokenStream) -> TokenStream {
        tokens
            .into_iter()
            .flat_map(|token| match token {
                TokenTree::Ident(ident) if ident == "Self" => name.clone(),
                TokenTree::Group(group) => {
                    let inner = spell_out(group.stream(), name);
                    let mut spelled = Group::new(group.delimiter(), inner);
                    spelled.set_span(group.span());
                    TokenTree::Group(spelled).into()
                }
                token => token.into(),
            })
            .collect()
    }

    let mut input = input.clone();
    let (_, type_generics, _) = input.generics.split_for_impl();
    let ident = &input.ident;
    // With `::<..>`, which is right both in types and in expressions.
    let turbofish = type_generics.as_turbofish();
    let name = quote!(#ident #turbofish);
    let spell_out_fields = |fields: &mut Fields| -> Result<()> {
        for field in fields {
            field.ty = syn::parse2(spell_out(field.ty.to_token_stream(), &name))?;
        }
        Ok(())
    };
    match &mut input.data {
        Data::Struct(data) => spell_out_fields(&mut data.fields)?,
        Data::Enum(data) => {
            for variant in &mut data.variants {
                spell_out_fields(&mut variant.fields)?;
                if let Some((_, expression)) = &mut variant.discriminant {
                    *expression = syn::parse2(spell_out(expression.to_token_stream(), &name))?;
                }
            }
        }
        Data::Union(_) => {}
    }
    Ok(input)
}

fn refuse_generics(generics: &Generics) -> Result<()> {
    for parameter in &generics.params {
        match parameter {
            GenericParam::Lifetime(lifetime) => {
                return Err(Error::new(
                    lifetime.span(),
                    "a message cannot borrow: what it borrows from stays behind in this process\n\
                     help: own the data, in a fixed array `[T; N]` or a slice `[T]` at the end of the struct",
                ));
            }
            GenericParam::Type(ty) => {
                let unsized_bound = ty.bounds.iter().any(|bound| match bound {
                    syn::TypeParamBound::Trait(bound) => bound.maybe.is_some(),
                    _ => false,
                });
                if unsized_bound {
                    return Err(Error::new_spanned(
                        ty,
                        "a type parameter of a message must be sized\n\
                         help: write the slice out as the last field, `[T]`",
                    ));
                }
            }
            GenericParam::Const(_) => {}
        }
    }
    Ok(())
}

/// Refuses what can be refused by its spelling; all fields at once, so that one run tells all.
fn refuse_fields(data: &Data) -> Result<()> {
    let mut errors: Option<Error> = None;
    let mut add = |error: Error| match &mut errors {
        None => errors = Some(error),
        Some(errors) => errors.combine(error),
    };
    let mut refuse_in = |prefix: &str, fields: &Fields| {
        for (member, field) in members(fields) {
            if let Err(error) = refuse_on_part(&field.attrs) {
                add(error);
            }
            if let Some(error) = refuse(&format!("{prefix}{}", name(&member)), &field.ty) {
                add(error);
            }
        }
    };
    match data {
        Data::Struct(data) => refuse_in("", &data.fields),
        Data::Enum(data) => {
            for variant in &data.variants {
                refuse_in(&format!("{}.", variant.ident.unraw()), &variant.fields);
            }
            for variant in &data.variants {
                if let Err(error) = refuse_on_part(&variant.attrs) {
                    add(error);
                }
            }
        }
        Data::Union(_) => {}
    }
    errors.map_or(Ok(()), Err)
}

fn members(fields: &Fields) -> impl Iterator<Item = (Member, &syn::Field)> {
    fields.members().zip(fields)
}

/// The name of a field in schemas and messages: without `r#`.
fn name(member: &Member) -> String {
    match member {
        Member::Named(ident) => ident.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    }
}

fn as_slice(ty: &Type) -> Option<&Type> {
    match ty {
        Type::Slice(slice) => Some(&slice.elem),
        Type::Paren(inner) => as_slice(&inner.elem),
        Type::Group(inner) => as_slice(&inner.elem),
        _ => None,
    }
}

/// The element type of the slice that the struct ends in, if it does.
fn slice_tail(data: &DataStruct) -> Result<Option<&Type>> {
    let last = data.fields.len().saturating_sub(1);
    let mut tail = None;
    for (index, field) in data.fields.iter().enumerate() {
        if let Some(element) = as_slice(&field.ty) {
            if index != last {
                return Err(Error::new_spanned(&field.ty, "only the last field of a message can be a slice"));
            }
            tail = Some(element);
        }
    }
    Ok(tail)
}

/// What all shapes of types need.
struct Context<'i> {
    input: &'i DeriveInput,
    options: Options,
    repr: Repr,
    /// The user's generics, with `Message` bounds.
    generics: Generics,
    /// `::staffetta::message`
    message: Path,
    /// `::staffetta::message::derive_support`
    support: Path,
}

/// The parts of an implementation that differ from shape to shape.
struct Parts {
    helpers: TokenStream,
    zero_valid: TokenStream,
    /// An expression; also asserts what can be wrong.
    align: TokenStream,
    schema: TokenStream,
    length: TokenStream,
    tail: TokenStream,
    from_raw_parts: TokenStream,
}

impl<'i> Context<'i> {
    fn new(input: &'i DeriveInput, options: Options, repr: Repr) -> Context<'i> {
        let library = &options.library;
        let message: Path = syn::parse_quote!(#library::message);
        let support: Path = syn::parse_quote!(#library::message::derive_support);
        let mut generics = input.generics.clone();
        for parameter in &mut generics.params {
            if let GenericParam::Type(ty) = parameter {
                ty.bounds.push(syn::parse_quote!(#message::Message));
            }
        }
        Context { input, options, repr, generics, message, support }
    }

    /// The constant with the facts about the field type number `index`, see [`parts`](Self::parts).
    fn part(&self, index: usize) -> TokenStream {
        let (_, type_generics, _) = self.generics.split_for_impl();
        let turbofish = type_generics.as_turbofish();
        let part = format_ident!("PART_{index}");
        quote!(__StaffettaParts #turbofish ::#part)
    }

    /// The only place where the bound `FieldType: Message` stands, once per field: so a type that is
    /// none is one error, at the field.
    fn parts(&self, types: &[&Type]) -> TokenStream {
        let support = &self.support;
        let generics = &self.generics;
        let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
        let marker = self.marker();
        let parts = types.iter().enumerate().map(|(index, ty)| {
            let part = format_ident!("PART_{index}");
            let of = quote_spanned!(ty.span()=> part::<#ty>);
            quote!(const #part: #support::Part = #support::#of();)
        });
        quote! {
            struct __StaffettaParts #generics (#marker) #where_clause;
            impl #impl_generics __StaffettaParts #type_generics #where_clause {
                #(#parts)*
            }
        }
    }

    /// Whether the first `count` parts are all valid as zeroes.
    fn all_zero_valid(&self, count: usize) -> TokenStream {
        let parts = (0..count).map(|index| self.part(index));
        quote!(true #(&& #parts.zero_valid)*)
    }

    /// An expression of type `String`.
    fn identity(&self) -> TokenStream {
        let support = &self.support;
        let message = &self.message;
        let version = self.options.version;
        let path = match &self.options.identity {
            Some(identity) => quote!(#identity),
            None => {
                let name = self.input.ident.unraw().to_string();
                quote!(::core::concat!(::core::module_path!(), "::", #name))
            }
        };
        let arguments = self.generics.params.iter().filter_map(|parameter| match parameter {
            GenericParam::Type(ty) => {
                let ident = &ty.ident;
                Some(quote!(<#ident as #message::Message>::identity()))
            }
            GenericParam::Const(constant) => {
                let ident = &constant.ident;
                Some(quote!(#support::argument(#ident)))
            }
            GenericParam::Lifetime(_) => None,
        });
        quote!(#support::identity(#path, #version, &[#(#arguments),*]))
    }

    /// Asserts what every message promises.
    fn assert_no_drop_glue(&self) -> TokenStream {
        quote! {
            ::core::assert!(
                !::core::mem::needs_drop::<Self>(),
                "a message cannot have drop glue: it may be swept by a process that does not know its type"
            );
        }
    }

    fn finish(&self, parts: Parts) -> TokenStream {
        let Context { input, generics, message, .. } = self;
        let ident = &input.ident;
        let identity = self.identity();
        let Parts { helpers, zero_valid, align, schema, length, tail, from_raw_parts } = parts;

        let (impl_generics, type_generics, where_clause) = generics.split_for_impl();

        // Without parameters the constants can be evaluated here, rather than at the first use.
        let evaluated = generics
            .params
            .is_empty()
            .then(|| quote!(const _: usize = <#ident as #message::Message>::ALIGN;));
        quote! {
            #[allow(
                dead_code)]
            const _: () = {
                #helpers

                // SAFETY: every field is a `Message`, there is no drop glue, and the layout is the
                // compiler's own.
                #[automatically_derived]
                unsafe impl #impl_generics #message::Message for #ident #type_generics #where_clause {
                    const ZERO_VALID: bool = #zero_valid;
                    const ALIGN: usize = #align;

                    fn schema() -> #message::Schema {
                        #schema
                    }

                    fn identity() -> ::std::string::String {
                        #identity
                    }

                    fn length(tail: usize) -> ::core::option::Option<usize> {
                        #length
                    }

                    fn tail(length: usize) -> ::core::option::Option<usize> {
                        #tail
                    }

                    unsafe fn from_raw_parts(data: *mut u8, tail: usize) -> *mut Self {
                        #from_raw_parts
                    }
                }

                #evaluated
            };
        }
    }

    /// [`finish`](Self::finish) for sized types.
    fn finish_sized(
        &self,
        helpers: TokenStream,
        zero_valid: TokenStream,
        asserts: TokenStream,
        schema: TokenStream,
    ) -> TokenStream {
        let support = &self.support;
        let no_drop_glue = self.assert_no_drop_glue();
        self.finish(Parts {
            helpers,
            zero_valid,
            align: quote!({
                #no_drop_glue
                #asserts
                ::core::mem::align_of::<Self>()
            }),
            schema,
            length: quote!(#support::length_sized(::core::mem::size_of::<Self>(), tail)),
            tail: quote!(#support::tail_sized(::core::mem::size_of::<Self>(), length)),
            from_raw_parts: quote!({
                let _ = tail;
                data.cast::<Self>()
            }),
        })
    }

    fn sized_struct(&self, data: &DataStruct) -> TokenStream {
        let message = &self.message;
        let types: Vec<&Type> = data.fields.iter().map(|field| &field.ty).collect();
        let fields = members(&data.fields).enumerate().map(|(index, (member, _))| {
            let name = name(&member);
            let part = self.part(index);
            quote! {
                #message::Field::new(#name, ::core::mem::offset_of!(Self, #member), (#part.schema)())
            }
        });
        self.finish_sized(
            self.parts(&types),
            self.all_zero_valid(types.len()),
            TokenStream::new(),
            quote! {
                #message::Schema::structure(
                    <Self as #message::Message>::identity(),
                    ::core::mem::size_of::<Self>(),
                    <Self as #message::Message>::ALIGN,
                    [#(#fields),*],
                )
            },
        )
    }

    fn struct_with_tail(&self, data: &DataStruct, element: &Type) -> Result<TokenStream> {
        let message = &self.message;
        let support = &self.support;
        let repr = &self.repr;
        if !(repr.c || repr.transparent) || repr.packed {
            return Err(Error::new(
                self.input.ident.span(),
                format!(
                    "`{}` ends in a slice, so its layout must be fixed{}\nhelp: add `#[repr(C)]`",
                    self.input.ident,
                    if repr.packed { ", and not packed" } else { "" },
                ),
            ));
        }

        // The twin: the same fields and repr, but sized.
        let twin = format_ident!("__StaffettaTwin");
        let aligns = &repr.aligns;
        let twin_repr =
            if repr.transparent { quote!(#[repr(transparent)]) } else { quote!(#[repr(C #(, #aligns)*)]) };
        let generics = &self.generics;
        let where_clause = &generics.where_clause;
        let last = data.fields.len().saturating_sub(1);
        let mut twin_fields = Vec::new();
        for (index, field) in data.fields.iter().enumerate() {
            let ident = format_ident!("f{index}");
            let ty = &field.ty;
            twin_fields.push(if index == last { quote!(#ident: [#element; 0]) } else { quote!(#ident: #ty) });
        }
        let (_, type_generics, _) = generics.split_for_impl();
        let marker = self.marker();
        let types: Vec<&Type> = data.fields.iter().map(|field| &field.ty).collect();
        let parts = self.parts(&types);
        let helpers = quote! {
            #parts

            #twin_repr
            struct #twin #generics #where_clause {
                #(#twin_fields,)*
                marker: #marker,
            }
        };

        let offset_of = |field: &Ident| quote!(::core::mem::offset_of!(#twin #type_generics, #field));
        let offset = offset_of(&format_ident!("f{last}"));
        let align = quote!(::core::mem::align_of::<#twin #type_generics>());
        let size = quote!(::core::mem::size_of::<#element>());

        let mut fields = Vec::new();
        let mut asserts = Vec::new();
        for (index, (member, _)) in members(&data.fields).enumerate() {
            let name = name(&member);
            let part = self.part(index);
            let offset = offset_of(&format_ident!("f{index}"));
            fields.push(quote!(#message::Field::new(#name, #offset, (#part.schema)())));
            asserts.push(quote! {
                // SAFETY: `whole` points to room for the fixed fields and an empty slice, aligned.
                let real = unsafe {
                    (&raw const (*whole).#member).cast::<u8>().offset_from(whole.cast::<u8>())
                };
                ::core::assert!(real as usize == #offset, "repr(C) has laid out two equal structs differently");
            });
        }
        let no_drop_glue = self.assert_no_drop_glue();
        Ok(self.finish(Parts {
            helpers,
            zero_valid: self.all_zero_valid(data.fields.len()),
            align: quote!({
                #no_drop_glue
                ::core::assert!(
                    #size != 0,
                    "a slice of zero-sized elements cannot be sent: its length in bytes does not tell how many there are"
                );
                let room = ::core::mem::MaybeUninit::<#twin #type_generics>::uninit();
                let whole = ::core::ptr::slice_from_raw_parts(
                    room.as_ptr().cast::<#element>(),
                    0,
                ) as *const Self;
                #(#asserts)*
                #align
            }),
            schema: quote! {
                #message::Schema::structure(
                    <Self as #message::Message>::identity(),
                    #offset,
                    <Self as #message::Message>::ALIGN,
                    [#(#fields),*],
                )
            },
            length: quote! {
                #support::length(#offset, #size, <Self as #message::Message>::ALIGN, tail)
            },
            tail: quote! {
                #support::tail(#offset, #size, <Self as #message::Message>::ALIGN, length)
            },
            from_raw_parts: quote! {
                ::core::ptr::slice_from_raw_parts_mut(data.cast::<#element>(), tail) as *mut Self
            },
        }))
    }

    /// A zero-sized type that uses every type parameter.
    fn marker(&self) -> TokenStream {
        let parameters = self.generics.type_params().map(|parameter| &parameter.ident);
        quote!(::core::marker::PhantomData<(#(#parameters,)*)>)
    }

    fn discriminant_type(&self) -> Result<(&Ident, Ident)> {
        let name = &self.input.ident;
        let Some(integer) = &self.repr.integer else {
            return Err(Error::new(
                name.span(),
                format!(
                    "the layout of the enum `{name}` is not fixed, so another program cannot read it\n\
                     help: add `#[repr(u8)]`"
                ),
            ));
        };
        DISCRIMINANTS
            .iter()
            .find(|(name, _)| integer == name)
            .map(|(_, leaf)| (integer, Ident::new(leaf, Span::call_site())))
            .ok_or_else(|| {
                Error::new(
                    integer.span(),
                    "the discriminant of a message must be an integer of 8, 16, 32 or 64 bits\n\
                     help: use `#[repr(u8)]`",
                )
            })
    }

    fn enumeration(&self, data: &DataEnum) -> Result<TokenStream> {
        if data.variants.is_empty() {
            return Err(Error::new(
                self.input.ident.span(),
                "an enum without variants has no values to send",
            ));
        }
        let (integer, leaf) = self.discriminant_type()?;
        for field in data.variants.iter().flat_map(|variant| &variant.fields) {
            if as_slice(&field.ty).is_some() {
                return Err(Error::new_spanned(&field.ty, "an enum cannot end in a slice; a struct can"));
            }
        }

        let message = &self.message;
        let marker = self.marker();
        let generics = &self.generics;
        let where_clause = &generics.where_clause;
        let (_, type_generics, _) = generics.split_for_impl();
        let whole = format_ident!("__StaffettaWhole");
        let payload = format_ident!("__StaffettaPayload");
        // `repr(u8)`: a union of structs that each begin with the discriminant.
        // `repr(C, u8)`: a struct of the discriminant and a union of structs.
        let separate = self.repr.c;

        let mut helpers = TokenStream::new();
        let mut union_fields = Vec::new();
        let mut zero_valid = Vec::new();
        let mut variants = Vec::new();
        let mut types = Vec::new();
        let mut previous: Option<Ident> = None;
        for (index, variant) in data.variants.iter().enumerate() {
            let shape = format_ident!("__StaffettaVariant{index}");
            let value = format_ident!("__STAFFETTA_DISCRIMINANT_{index}");
            let expression = match (&variant.discriminant, &previous) {
                (Some((_, expression)), _) => quote!(#expression),
                (None, Some(previous)) => quote!(#previous + 1),
                (None, None) => quote!(0),
            };
            helpers.extend(quote!(const #value: #integer = #expression;));
            previous = Some(value.clone());

            let mut shape_fields: Punctuated<TokenStream, syn::Token![,]> = Punctuated::new();
            if !separate {
                shape_fields.push(quote!(discriminant: #integer));
            }
            let mut fields = Vec::new();
            let mut all_zero_valid = quote!(#value == 0);
            for (number, (member, field)) in members(&variant.fields).enumerate() {
                let ident = format_ident!("f{number}");
                let ty = &field.ty;
                let name = name(&member);
                let part = self.part(types.len());
                shape_fields.push(quote!(#ident: #ty));
                all_zero_valid.extend(quote!(&& #part.zero_valid));
                let mut offset = quote!(::core::mem::offset_of!(#shape #type_generics, #ident));
                if separate {
                    offset = quote!(
                        ::core::mem::offset_of!(#whole #type_generics, payload) + #offset
                    );
                }
                fields.push(quote!(#message::Field::new(#name, #offset, (#part.schema)())));
                types.push(ty);
            }
            shape_fields.push(quote!(marker: #marker));
            helpers.extend(quote! {
                #[repr(C)]
                struct #shape #generics #where_clause { #shape_fields }
            });
            let union_field = format_ident!("v{index}");
            union_fields.push(quote!(#union_field: ::core::mem::ManuallyDrop<#shape #type_generics>));
            zero_valid.push(quote!((#all_zero_valid)));
            let name = variant.ident.unraw().to_string();
            variants.push(quote! {
                #message::Variant::new(#name, #value as i128, [#(#fields),*])
            });
        }
        let aligns = &self.repr.aligns;
        helpers.extend(if separate {
            quote! {
                #[repr(C)]
                union #payload #generics #where_clause { #(#union_fields),* }
                #[repr(C #(, #aligns)*)]
                struct #whole #generics #where_clause {
                    discriminant: #integer,
                    payload: #payload #type_generics,
                }
            }
        } else {
            quote! {
                #[repr(C #(, #aligns)*)]
                union #whole #generics #where_clause { #(#union_fields),* }
            }
        });
        helpers.extend(self.parts(&types));
        let asserts = quote! {
            ::core::assert!(
                ::core::mem::size_of::<Self>() == ::core::mem::size_of::<#whole #type_generics>()
                    && ::core::mem::align_of::<Self>() == ::core::mem::align_of::<#whole #type_generics>(),
                "the enum is not laid out as the language's reference defines"
            );
        };
        Ok(self.finish_sized(
            helpers,
            quote!(#(#zero_valid)||*),
            asserts,
            quote! {
                #message::Schema::enumeration(
                    <Self as #message::Message>::identity(),
                    ::core::mem::size_of::<Self>(),
                    <Self as #message::Message>::ALIGN,
                    #message::Leaf::#leaf,
                    [#(#variants),*],
                )
            },
        ))
    }
}
