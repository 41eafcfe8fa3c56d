//! Who is in which group, and which labels the operator gave a host.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cedar_policy::EntityUid;
use cmdop_contract::name::Name;
use cmdop_contract::v1::{Labels, Names, PolicyEntities};

use super::{Error, Group, uid};

/// Labels of this form are the host's own word on where cmdop keeps its data.
const OWN: &str = "cmdop.";

/// Groups and labels beside what a call brings along.
#[derive(Debug, Default)]
pub(crate) struct Known {
    groups: BTreeSet<(&'static str, String)>,
    /// Groups by member.
    member: HashMap<EntityUid, Vec<EntityUid>>,
    labels: HashMap<String, BTreeMap<String, String>>,
    text: String,
}

impl Known {
    /// # Errors
    /// A group, a member or a host that is no name, a group that holds everybody anyway, a reserved label.
    pub(super) fn of(entities: &PolicyEntities) -> Result<Self, Error> {
        let mut known = Self::default();
        known.add("UserGroup", "User", &entities.user_groups)?;
        known.add("AgentGroup", "Agent", &entities.agent_groups)?;
        known.add("HostGroup", "Host", &entities.host_groups)?;
        for (host, Labels { labels }) in &entities.host_labels {
            check_name("host", host)?;
            if let Some(own) = labels.keys().find(|name| name.starts_with(OWN) || name.is_empty()) {
                let problem = format!("the label `{own}` of host `{host}` is reserved");
                return Err(error(problem, "choose a name that does not begin with `cmdop.`"));
            }
            known.text.push_str(&format!("{host} {labels:?}\n"));
            known.labels.insert(host.clone(), labels.clone());
        }
        Ok(known)
    }

    fn add(&mut self, kind: &'static str, member: &'static str, groups: &BTreeMap<String, Names>) -> Result<(), Error> {
        for (name, members) in groups {
            let group = uid(kind, name);
            check_name("group", name)?;
            if [Group::Users, Group::Agents].into_iter().any(|all| all.uid() == group) {
                let problem = format!("{group} holds everybody of its kind already");
                return Err(error(problem, "choose another name"));
            }
            let mut names = members.names.clone();
            names.sort();
            names.dedup();
            self.text.push_str(&format!("{group} {names:?}\n"));
            for name in names {
                check_name("member", &name)?;
                self.member.entry(uid(member, &name)).or_default().push(group.clone());
            }
            self.groups.insert((kind, name.clone()));
        }
        Ok(())
    }

    /// Groups of a user, an agent or a host.
    pub(super) fn groups_of(&self, entity: &EntityUid) -> impl Iterator<Item = EntityUid> + use<'_> {
        self.member.get(entity).into_iter().flatten().cloned()
    }

    pub(super) fn host_groups(&self, host: &str) -> Vec<String> {
        let groups = self.groups_of(&uid("Host", host));
        groups.map(|group| group.id().unescaped().to_owned()).collect()
    }

    /// Groups of a user, that of everybody included.
    pub(super) fn user_groups(&self, user: &str) -> Vec<String> {
        let groups = self.groups_of(&uid("User", user)).chain([Group::Users.uid()]);
        groups.map(|group| group.id().unescaped().to_owned()).collect()
    }

    /// How many people are in one of these groups of users; `None` if that is everybody.
    pub(super) fn people<'a>(&self, groups: impl Iterator<Item = &'a str>) -> Option<usize> {
        let groups: Vec<EntityUid> = groups.map(|group| uid("UserGroup", group)).collect();
        if groups.iter().any(|group| *group == Group::Users.uid() || group.id().unescaped().is_empty()) {
            return None;
        }
        Some(self.member.values().filter(|of| of.iter().any(|group| groups.contains(group))).count())
    }

    pub(super) fn labels(&self, host: &str) -> impl Iterator<Item = (&str, &str)> {
        self.labels.get(host).into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn has_group(&self, group: &EntityUid) -> bool {
        self.groups().any(|known| known == group.to_string())
    }

    /// Every group that policies may name, as they write it.
    pub(super) fn groups(&self) -> impl Iterator<Item = String> + use<'_> {
        let everybody = [Group::Users, Group::Agents].map(|group| group.uid().to_string());
        everybody.into_iter().chain(self.groups.iter().map(|(kind, name)| uid(kind, name).to_string()))
    }

    /// Everything in one order, for the policy's version.
    pub(super) fn canonical_text(&self) -> String {
        self.text.clone()
    }
}

fn check_name(what: &str, name: &str) -> Result<(), Error> {
    match Name::parse(name) {
        Ok(_) => Ok(()),
        Err(not_a_name) => Err(error(format!("the {what} `{name}` is no name: {not_a_name}"), "rename it")),
    }
}

fn error(problem: String, mend: &str) -> Error {
    Error { file: "entities.toml".to_owned(), line: 1, problem, mend: mend.to_owned() }
}
