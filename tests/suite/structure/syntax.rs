//! Reads one source file: the modules in it, what they define and import, and every path that their code names.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::{
    Attribute, Expr, ExprMethodCall, ImplItem, ImplItemFn, Item, ItemFn, ItemImpl, ItemMod, Lit, Macro, Meta,
    Path, Signature, Stmt, TraitItemFn, Type, UseTree,
    token::Brace,
    visit::{self, Visit},
};

/// A file of the crate: its path from the root of the repository, and its text.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    pub path: String,
    pub text: String,
}

/// A module: a file, or a `mod name { ... }` in a file.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// Path from the root of the crate, without `crate`.
    pub path: Vec<String>,
    /// Path of the file.
    pub file: String,
    /// Built for unit tests only.
    pub test: bool,
    /// Names that the module itself defines, child modules excluded.
    pub items: BTreeSet<String>,
    /// Child modules, with whether each is built for unit tests only.
    pub children: BTreeMap<String, bool>,
    pub imports: Vec<Import>,
    pub references: Vec<Reference>,
}

/// A name of a `use` declaration.
#[derive(Debug)]
pub(super) struct Import {
    /// The name in this module; `*` for all names.
    pub name: String,
    pub path: Vec<String>,
    pub line: usize,
    pub test: bool,
}

/// A path in the code.
#[derive(Debug)]
pub(super) struct Reference {
    pub path: Vec<String>,
    pub line: usize,
    pub test: bool,
}

/// Facts about one file for the rules, in addition to its modules.
#[derive(Debug, Default)]
pub(super) struct FileFacts {
    /// Names and lines of the types that are not for tests.
    pub types: Vec<(String, usize)>,
    /// Types with a hand-written `as_str` that maps variants to literals.
    pub handwritten_vocabularies: Vec<(String, usize)>,
    /// Lines of the keyword `unsafe` and of the lint `unsafe_code`.
    pub unsafe_lines: Vec<usize>,
    /// Lines that name a crate of the NVML wrapper.
    pub nvml_lines: Vec<usize>,
    /// Lines of each function that is not for tests.
    pub function_lengths: Vec<usize>,
}

/// The first segment of a path that starts with `::`.
pub(super) const EXTERNAL: &str = "::";
/// Methods of the standard library that read a clock or the file system. A call leaves the reference `.elapsed()`.
const IMPURE_METHODS: [&str; 7] =
    ["canonicalize", "elapsed", "exists", "is_dir", "is_file", "read_dir", "try_exists"];

/// Reads a file whose module has this path.
pub(super) fn read(file: &SourceFile, module: Vec<String>) -> (Vec<Module>, FileFacts) {
    let syntax = syn::parse_file(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path));
    let top = Module { path: module, file: file.path.clone(), ..Module::default() };
    let mut reader = Reader { modules: vec![top], ..Reader::default() };
    reader.visit_file(&syntax);
    let tokens = file.text.parse::<TokenStream>().unwrap();
    identifiers(tokens, &mut |identifier| {
        let lines = match identifier.to_string().as_str() {
            "unsafe" | "unsafe_code" => &mut reader.facts.unsafe_lines,
            "nvml_wrapper" | "nvml_wrapper_sys" => &mut reader.facts.nvml_lines,
            _ => return,
        };
        lines.push(identifier.span().start().line);
    });
    (reader.modules, reader.facts)
}

fn identifiers(tokens: TokenStream, visit: &mut impl FnMut(&Ident)) {
    for token in tokens {
        match token {
            TokenTree::Ident(identifier) => visit(&identifier),
            TokenTree::Group(group) => identifiers(group.stream(), visit),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

#[derive(Debug, Default)]
struct Reader {
    modules: Vec<Module>,
    /// Index of the module that is read.
    current: usize,
    /// Number of enclosing items that are for tests only.
    test: usize,
    /// Number of enclosing functions.
    functions: usize,
    facts: FileFacts,
}

impl Reader {
    fn module(&mut self) -> &mut Module {
        &mut self.modules[self.current]
    }

    fn reference(&mut self, path: Vec<String>, span: Span) {
        let (line, test) = (span.start().line, self.test > 0);
        self.module().references.push(Reference { path, line, test });
    }

    fn method(&mut self, name: &Ident) {
        self.reference(vec![format!(".{name}()")], name.span());
    }

    /// Names inside a function are not names of the module, but their types count as types of the crate.
    fn define(&mut self, name: &Ident, is_type: bool) {
        if self.functions == 0 {
            self.module().items.insert(name.to_string());
        }
        if is_type && self.test == 0 {
            self.facts.types.push((name.to_string(), name.span().start().line));
        }
    }

    fn flatten(&mut self, tree: &UseTree, prefix: &[String]) {
        let with = |name: &Ident| [prefix, &[name.to_string()]].concat();
        let (name, path, span) = match tree {
            UseTree::Path(path) => return self.flatten(&path.tree, &with(&path.ident)),
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.flatten(tree, prefix)),
            UseTree::Name(name) if name.ident == "self" => {
                (prefix.last().unwrap().clone(), prefix.to_vec(), name.ident.span())
            }
            UseTree::Name(name) => (name.ident.to_string(), with(&name.ident), name.ident.span()),
            UseTree::Rename(rename) if rename.ident == "self" => {
                (rename.rename.to_string(), prefix.to_vec(), rename.ident.span())
            }
            UseTree::Rename(rename) => (rename.rename.to_string(), with(&rename.ident), rename.ident.span()),
            UseTree::Glob(glob) => ("*".into(), prefix.to_vec(), glob.star_token.span),
        };
        let (line, test) = (span.start().line, self.test > 0);
        self.module().imports.push(Import { name, path, line, test });
    }

    /// Paths of two segments or more in tokens that have no syntax yet: the arguments of a macro.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = vec![];
        let mut span = Span::call_site();
        let (mut colons, mut dot) = (0, false);
        for token in tokens {
            let after_dot = std::mem::take(&mut dot);
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
                TokenTree::Ident(identifier) if after_dot && is_impure_method(&identifier) => {
                    self.method(&identifier);
                }
                TokenTree::Ident(identifier) if colons == 2 => {
                    path.push(identifier.to_string());
                    colons = 0;
                }
                other => {
                    self.end_of_path(&mut path, span);
                    colons = 0;
                    match other {
                        TokenTree::Ident(identifier) => {
                            span = identifier.span();
                            path.push(identifier.to_string());
                        }
                        TokenTree::Group(group) => self.scan(group.stream()),
                        TokenTree::Punct(punct) => dot = punct.as_char() == '.',
                        TokenTree::Literal(_) => {}
                    }
                }
            }
        }
        self.end_of_path(&mut path, span);
    }

    fn end_of_path(&mut self, path: &mut Vec<String>, span: Span) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.reference(path, span);
        }
    }

    /// Names that a macro call at the level of items defines: `vocabulary! { enum Name { ... } }`.
    fn defined_by_macro(&mut self, tokens: TokenStream) {
        let mut keyword = String::new();
        for token in tokens {
            let TokenTree::Ident(identifier) = token else { continue };
            let is_type = ["struct", "enum", "union", "trait", "type"].contains(&keyword.as_str());
            if is_type || ["fn", "const", "static"].contains(&keyword.as_str()) {
                self.define(&identifier, is_type);
            }
            keyword = identifier.to_string();
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Const(item) => self.define(&item.ident, false),
            Item::Enum(item) => self.define(&item.ident, true),
            Item::Fn(item) => self.define(&item.sig.ident, false),
            Item::Macro(item) => match &item.ident {
                Some(name) => self.define(name, false),
                None => self.defined_by_macro(item.mac.tokens.clone()),
            },
            Item::Static(item) => self.define(&item.ident, false),
            Item::Struct(item) => self.define(&item.ident, true),
            Item::Trait(item) => self.define(&item.ident, true),
            Item::Type(item) => self.define(&item.ident, true),
            Item::Union(item) => self.define(&item.ident, true),
            Item::Use(item) => {
                let prefix: &[String] =
                    &item.leading_colon.iter().map(|_| EXTERNAL.to_owned()).collect::<Vec<_>>();
                self.flatten(&item.tree, prefix);
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn for_tests(&mut self, attributes: &[Attribute], read: impl FnOnce(&mut Self)) {
        let test = usize::from(attributes.iter().any(is_for_tests));
        self.test += test;
        read(self);
        self.test -= test;
    }

    fn function(&mut self, signature: &Signature, body: &Brace, read: impl FnOnce(&mut Self)) {
        if self.test == 0 {
            let (first, last) = (signature.fn_token.span.start().line, body.span.close().end().line);
            self.facts.function_lengths.push(last - first + 1);
        }
        self.functions += 1;
        read(self);
        self.functions -= 1;
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        self.for_tests(attributes(item), |reader| reader.item(item));
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            _ => &vec![],
        };
        self.for_tests(attributes, |reader| visit::visit_impl_item(reader, item));
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let (name, test) = (item.ident.to_string(), self.test > 0);
        self.module().children.insert(name.clone(), test);
        if item.content.is_some() {
            let parent = self.module();
            let path = [parent.path.as_slice(), &[name]].concat();
            let child = Module { path, file: parent.file.clone(), test, ..Module::default() };
            let outer = std::mem::replace(&mut self.current, self.modules.len());
            self.modules.push(child);
            visit::visit_item_mod(self, item);
            self.current = outer;
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.sig, &item.block.brace_token, |reader| visit::visit_item_fn(reader, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(&item.sig, &item.block.brace_token, |reader| visit::visit_impl_item_fn(reader, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig, &body.brace_token, |reader| visit::visit_trait_item_fn(reader, item));
        } else {
            visit::visit_trait_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let is_vocabulary =
            |item: &ImplItem| matches!(item, ImplItem::Fn(function) if maps_to_literals(function));
        if let (0, Type::Path(name)) = (self.test, &*item.self_ty)
            && item.items.iter().any(is_vocabulary)
        {
            let name = &name.path.segments.last().unwrap().ident;
            self.facts.handwritten_vocabularies.push((name.to_string(), name.span().start().line));
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let start = path.leading_colon.iter().map(|_| EXTERNAL.to_owned());
        let segments = path.segments.iter().map(|segment| segment.ident.to_string());
        self.reference(start.chain(segments).collect(), path.segments[0].ident.span());
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if is_impure_method(&call.method) {
            self.method(&call.method);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.scan(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    /// Serde names functions and modules in strings.
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone());
            let mut is_module = false;
            for token in list.tokens.clone() {
                match &token {
                    TokenTree::Ident(key) => is_module = key == "with",
                    TokenTree::Literal(literal) => {
                        if let Lit::Str(text) = Lit::new(literal.clone())
                            && let Ok(path) = text.parse::<Path>()
                        {
                            let segments = path.segments.iter().map(|segment| segment.ident.to_string());
                            let function = is_module.then(|| "deserialize".to_owned());
                            self.reference(segments.chain(function).collect(), literal.span());
                        }
                    }
                    TokenTree::Group(_) | TokenTree::Punct(_) => {}
                }
            }
        }
        visit::visit_attribute(self, attribute);
    }
}

fn is_impure_method(name: &Ident) -> bool {
    IMPURE_METHODS.iter().any(|method| name == method)
}

/// `#[test]`, `#[cfg(test)]` or `#[cfg(all(test, ...))]`.
fn is_for_tests(attribute: &Attribute) -> bool {
    match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition: String = list.tokens.to_string().split_whitespace().collect();
            condition == "test" || condition.starts_with("all(test,")
        }
        _ => false,
    }
}

/// A method `as_str` whose body is one `match` with a literal for each variant.
fn maps_to_literals(function: &ImplItemFn) -> bool {
    let [Stmt::Expr(Expr::Match(body), _)] = function.block.stmts.as_slice() else { return false };
    let is_literal = |value: &Expr| matches!(value, Expr::Lit(literal) if matches!(literal.lit, Lit::Str(_)));
    function.sig.ident == "as_str" && body.arms.iter().all(|arm| is_literal(&arm.body))
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
