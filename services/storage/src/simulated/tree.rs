//! Directories and the names in them: as a process sees them, and as a power cut leaves them.

use std::{
    collections::BTreeMap,
    io,
    path::{Component, Path, PathBuf},
};

use super::file::Content;
use crate::disk::Listed;

pub(super) type NodeId = usize;

const ROOT: NodeId = 0;

/// Files and directories; those that no name leads to stay, for somebody may have them open.
#[derive(Debug, Clone)]
pub(super) struct Tree(Vec<Node>);

#[derive(Debug, Clone)]
enum Node {
    File(Content),
    Directory(Directory),
}

#[derive(Debug, Clone, Default)]
struct Directory {
    now: BTreeMap<String, NodeId>,
    kept: BTreeMap<String, NodeId>,
    /// What was done since the last sync: each is kept or lost as a whole.
    pending: Vec<Vec<(String, Option<NodeId>)>>,
}

impl Directory {
    fn apply(&mut self, change: Vec<(String, Option<NodeId>)>) {
        set(&mut self.now, &change);
        self.pending.push(change);
    }
}

fn set(names: &mut BTreeMap<String, NodeId>, change: &[(String, Option<NodeId>)]) {
    for (name, id) in change {
        match id {
            Some(id) => names.insert(name.clone(), *id),
            None => names.remove(name),
        };
    }
}

impl Default for Tree {
    fn default() -> Tree {
        Tree(vec![Node::Directory(Directory::default())])
    }
}

impl Tree {
    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut id = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                let name = name.to_string_lossy();
                let names = &self.directory(id)?.now;
                id = *names.get(name.as_ref()).ok_or(io::ErrorKind::NotFound)?;
            }
        }
        Ok(id)
    }

    fn directory(&self, id: NodeId) -> io::Result<&Directory> {
        match &self.0[id] {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn directory_mut(&mut self, id: NodeId) -> io::Result<&mut Directory> {
        match &mut self.0[id] {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn content(&self, id: NodeId) -> io::Result<&Content> {
        match &self.0[id] {
            Node::File(content) => Ok(content),
            Node::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn content_mut(&mut self, id: NodeId) -> io::Result<&mut Content> {
        match &mut self.0[id] {
            Node::File(content) => Ok(content),
            Node::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// The directory that a path is in, and its name there.
    fn place(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.find(parent)?, name.to_string_lossy().into_owned()))
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<NodeId> {
        let (parent, name) = self.place(path)?;
        let id = self.0.len();
        let directory = self.directory_mut(parent)?;
        if directory.now.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        directory.apply(vec![(name, Some(id))]);
        self.0.push(node);
        Ok(id)
    }

    pub(super) fn create(&mut self, path: &Path, content: Content) -> io::Result<NodeId> {
        self.add(path, Node::File(content))
    }

    pub(super) fn make_directory(&mut self, path: &Path) -> io::Result<()> {
        match self.add(path, Node::Directory(Directory::default())) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map(drop),
        }
    }

    pub(super) fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        let id = self.find(path)?;
        let directory = self.directory_mut(id)?;
        directory.kept = directory.now.clone();
        directory.pending.clear();
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.find(from)?;
        let ((parent, old), (other, new)) = (self.place(from)?, self.place(to)?);
        if parent != other {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let directory = self.directory_mut(parent)?;
        directory.apply(vec![(old, None), (new, Some(id))]);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path, is_directory: bool) -> io::Result<()> {
        let id = self.find(path)?;
        if is_directory && !self.directory(id)?.now.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if !is_directory {
            self.content(id)?;
        }
        let (parent, name) = self.place(path)?;
        self.directory_mut(parent)?.apply(vec![(name, None)]);
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let directory = self.directory(self.find(path)?)?;
        let listed = directory.now.iter().map(|(name, id)| Listed {
            name: name.clone(),
            bytes: self.content(*id).map_or(0, Content::length),
            is_directory: self.directory(*id).is_ok(),
        });
        Ok(listed.collect())
    }

    /// Bytes of all files that have a name.
    pub(super) fn bytes(&self) -> u64 {
        let files = self.walk().into_iter();
        files
            .filter_map(|(_, id)| self.content(id).ok())
            .map(Content::length)
            .sum()
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let all = self.walk().into_iter();
        let files = all.filter(|(_, id)| self.content(*id).is_ok());
        files.map(|(path, _)| path).collect()
    }

    /// Everything that has a name, parents before what is in them.
    fn walk(&self) -> Vec<(PathBuf, NodeId)> {
        let mut found = vec![(PathBuf::from("/"), ROOT)];
        let mut next = 0;
        while let Some((path, id)) = found.get(next).cloned() {
            if let Ok(directory) = self.directory(id) {
                let names = directory.now.iter();
                found.extend(names.map(|(name, id)| (path.join(name), *id)));
            }
            next += 1;
        }
        found
    }

    pub(super) fn cut_power(&mut self, random: &mut fastrand::Rng) {
        for node in &mut self.0 {
            match node {
                Node::File(content) => content.cut_power(random),
                Node::Directory(directory) => {
                    let share = [0, 50, 100][random.usize(..3)];
                    for change in std::mem::take(&mut directory.pending) {
                        if random.u32(..100) < share {
                            set(&mut directory.kept, &change);
                        }
                    }
                    directory.now = directory.kept.clone();
                }
            }
        }
    }
}
