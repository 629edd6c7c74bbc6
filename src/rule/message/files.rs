//! What each file below `templates/` is, by its path alone.

use crate::diagnostic::{Finding, Place, SourceFile, suggest};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a message is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Markdown,
    Mjml,
    Html,
    /// The text part of a message, or a partial of one.
    Text,
}

impl Format {
    fn of(ending: &str) -> Option<Self> {
        match ending {
            "md" => Some(Self::Markdown),
            "mjml" => Some(Self::Mjml),
            "html" => Some(Self::Html),
            "txt" => Some(Self::Text),
            _ => None,
        }
    }

    const fn ending(self) -> &'static str {
        match self {
            Self::Markdown => "md",
            Self::Mjml => "mjml",
            Self::Html => "html",
            Self::Text => "txt",
        }
    }

    /// The format of a template by its name in the environment; a head's part is text.
    pub fn of_name(name: &str) -> Option<Self> {
        if name.contains(super::environment::UNESCAPED) { Some(Self::Text) } else { Self::of(name.rsplit_once('.')?.1) }
    }

    /// What may be included into it: its own kind, and HTML where HTML may stand.
    const fn takes(self) -> &'static [Self] {
        match self {
            Self::Markdown => &[Self::Markdown, Self::Html],
            Self::Mjml => &[Self::Mjml, Self::Html],
            Self::Html => &[Self::Html],
            Self::Text => &[Self::Text],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Can be sent.
    Message(Format),
    /// The text part of the message of the same name.
    TextPart,
    Partial,
    Layout,
    Image,
}

/// `path` is below `templates/`. `None`: a file that means nothing here.
fn role(path: &str) -> Option<Role> {
    let (folder, name) = path.split_once('/').unwrap_or(("", path));
    let format = Format::of(name.rsplit_once('.')?.1);
    match folder {
        "images" => Some(Role::Image),
        "partials" => format.map(|_| Role::Partial),
        "layouts" => format.filter(|format| matches!(format, Format::Html | Format::Mjml)).map(|_| Role::Layout),
        _ => match format? {
            Format::Text => Some(Role::TextPart),
            format => Some(Role::Message(format)),
        },
    }
}

/// The name that `template:` in a rule has for a file of the rules directory.
#[must_use]
pub fn message_name(path: &str) -> Option<&str> {
    let below = path.strip_prefix("templates/")?;
    matches!(role(below)?, Role::Message(_)).then(|| below.rsplit_once('.').map(|(name, _)| name))?
}

/// The folders whose names begin the names of what lies in them.
pub(super) const PARTIALS: &str = "partials/";
pub(super) const LAYOUTS: &str = "layouts/";
pub(super) const IMAGES: &str = "images/";

/// The files below `templates/` by their path there.
#[derive(Debug, Default)]
pub(super) struct Files {
    by_path: BTreeMap<String, (Role, Arc<SourceFile>)>,
}

impl Files {
    pub fn of(files: &[Arc<SourceFile>]) -> Self {
        let below = |file: &Arc<SourceFile>| {
            let path = file.path.strip_prefix("templates/")?;
            Some((path.to_owned(), (role(path)?, Arc::clone(file))))
        };
        Self { by_path: files.iter().filter_map(below).collect() }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Role, &Arc<SourceFile>)> {
        self.by_path.iter().map(|(path, (role, file))| (path.as_str(), *role, file))
    }

    pub fn contains(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    pub fn get(&self, path: &str) -> Option<&Arc<SourceFile>> {
        self.by_path.get(path).map(|(_, file)| file)
    }

    /// The partial that `name` means in a template of that format.
    pub fn partial(&self, name: &str, within: Format) -> Option<String> {
        let name = name.strip_prefix(PARTIALS).unwrap_or(name);
        let whole = std::iter::once(format!("{PARTIALS}{name}"));
        let ended = within.takes().iter().map(|format| format!("{PARTIALS}{name}.{}", format.ending()));
        let fits = |path: &String| Format::of_name(path).is_some_and(|format| within.takes().contains(&format));
        whole.chain(ended).find(|path| self.contains(path) && fits(path))
    }

    /// The layout that `name` means for that format.
    pub fn layout(&self, name: &str, within: Format) -> Option<String> {
        let name = name.strip_prefix(LAYOUTS).unwrap_or(name);
        let ending = if within == Format::Mjml { Format::Mjml } else { Format::Html }.ending();
        let name = name.strip_suffix(&format!(".{ending}")).unwrap_or(name);
        Some(format!("{LAYOUTS}{name}.{ending}")).filter(|path| self.contains(path))
    }

    /// Did somebody mean one that is there?
    pub fn suggest(&self, folder: &str, name: &str, within: Format) -> Option<String> {
        let formats = if folder == LAYOUTS && within == Format::Markdown { &[Format::Html] } else { within.takes() };
        let known: Vec<&str> = self
            .by_path
            .keys()
            .filter(|path| Format::of_name(path).is_some_and(|format| formats.contains(&format)))
            .filter_map(|path| path.strip_prefix(folder)?.rsplit_once('.').map(|(name, _)| name))
            .collect();
        let written = name.strip_prefix(folder).unwrap_or(name);
        let written = written.rsplit_once('.').map_or(written, |(stem, _)| stem);
        suggest::help(written, known)
    }

    /// Two files for one message, and text parts of none.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        let stem = |path: &'_ str| path.rsplit_once('.').map_or(path.len(), |(stem, _)| stem.len());
        let at = |file: &Arc<SourceFile>| Place { file: Arc::clone(file), range: 0..0 };
        for (path, _, file) in self.iter().filter(|(_, role, _)| matches!(role, Role::Message(_))) {
            let name = &path[..stem(path)];
            if let Some(first) = names.insert(name, path) {
                let message = format!("`{name}` is also templates/{first}");
                let finding = Finding::error("template.duplicate", message).at(at(file));
                findings.push(finding.help("a message has one file, and may have a `.txt` beside it"));
            }
        }
        for (path, _, file) in self.iter().filter(|(_, role, _)| *role == Role::TextPart) {
            let name = &path[..stem(path)];
            if !names.contains_key(name) {
                let finding = Finding::error("template.text", format!("there is no message `{name}`")).at(at(file));
                let help = suggest::nearest(name, names.keys().copied());
                findings.push(finding.help(help.map_or_else(
                    || "a `.txt` is the text part of the message beside it".to_owned(),
                    |near| format!("did you mean `{near}.txt`?"),
                )));
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_a_file_is() {
        for (path, expected) in [
            ("templates/a.md", Some("a")),
            ("templates/day/1.mjml", Some("day/1")),
            ("templates/a.b.html", Some("a.b")),
            ("templates/a.txt", None),
            ("templates/partials/a.md", None),
            ("templates/layouts/a.html", None),
            ("templates/images/a.md", None),
            ("templates/README", None),
            ("a.md", None),
        ] {
            assert_eq!(message_name(path), expected, "{path}");
        }
    }

    #[test]
    fn names_are_found_by_what_may_stand_where() {
        let file = |path: &str| Arc::new(SourceFile { path: format!("templates/{path}"), text: String::new() });
        let paths = ["partials/foot.md", "partials/foot.html", "partials/bar.mjml", "layouts/base.html"];
        let files = Files::of(&paths.map(file));
        assert_eq!(files.partial("foot", Format::Markdown).as_deref(), Some("partials/foot.md"));
        assert_eq!(files.partial("foot", Format::Mjml).as_deref(), Some("partials/foot.html"));
        assert_eq!(files.partial("partials/foot.html", Format::Markdown).as_deref(), Some("partials/foot.html"));
        assert_eq!(files.partial("bar", Format::Html), None);
        assert_eq!(files.partial("bar.mjml", Format::Html), None);
        assert_eq!(files.layout("base", Format::Markdown).as_deref(), Some("layouts/base.html"));
        assert_eq!(files.layout("base", Format::Mjml), None);
        assert_eq!(files.suggest(LAYOUTS, "bsae", Format::Html).as_deref(), Some("did you mean `base`?"));
    }
}
