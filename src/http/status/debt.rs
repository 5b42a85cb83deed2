//! What operators owe: which KEKs and versions hold what, what could go, what is older than it should be.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use crate::clock::{rfc3339, unix_ms};
use crate::http::answer::Json;
use crate::service::Service;
use crate::store::{Debt, DekState, Group};

const DAY_MS: i64 = 86_400_000;

/// DEKs of one KEK or one version.
#[derive(Default)]
struct Sum {
    primary: u64,
    decrypt_only: u64,
    disabled: u64,
    destroyed: u64,
    unknown: u64,
    encryptions: u64,
    last_used_ms: i64,
}

impl Sum {
    fn add(&mut self, group: &Group) {
        let count = match group.state {
            Some(DekState::Primary) => &mut self.primary,
            Some(DekState::DecryptOnly) => &mut self.decrypt_only,
            Some(DekState::Disabled) => &mut self.disabled,
            Some(DekState::Destroyed) => &mut self.destroyed,
            None => &mut self.unknown,
        };
        *count += group.rows;
        self.encryptions += group.encryptions;
        self.last_used_ms = self.last_used_ms.max(group.last_used_ms);
    }

    fn rows(&self) -> u64 {
        self.primary + self.decrypt_only + self.disabled + self.destroyed + self.unknown
    }

    fn write(&self, json: &mut Json) {
        json.number("deks", self.rows());
        json.number("primary", self.primary);
        json.number("decryptOnly", self.decrypt_only);
        json.number("disabled", self.disabled);
        json.number("destroyed", self.destroyed);
        json.number("encryptions", self.encryptions);
        if self.last_used_ms > 0 {
            json.text("lastUsed", &rfc3339(time(self.last_used_ms)));
        }
    }
}

pub(super) fn write(json: &mut Json, service: &Service, debt: &Debt) {
    let ring = service.keys.ring();
    let primary = ring.primary_id().to_string();
    let in_ring: Vec<String> = ring.kek_ids().map(|id| id.to_string()).collect();
    let mut keks: BTreeMap<&str, Sum> = debt.keks.iter().map(|(id, _)| (id.as_str(), Sum::default())).collect();
    // Those beyond the last that is told apart are one, and come last.
    let mut versions: BTreeMap<u32, Sum> = BTreeMap::new();
    for group in &debt.groups {
        keks.entry(group.kek_id.as_str()).or_default().add(group);
        versions.entry(group.version.unwrap_or(u32::MAX)).or_default().add(group);
    }
    json.nested("debt", |json| {
        json.number("ageSeconds", service.keys.debt_age().as_secs());
        json.list("keks", &keks.into_iter().collect::<Vec<_>>(), |json, (id, sum)| {
            json.text("id", id);
            json.boolean("wraps", *id == primary);
            json.boolean("inRing", in_ring.iter().any(|known| known == id));
            sum.write(json);
            if let Some((_, made_ms)) = debt.keks.iter().find(|(kek, _)| kek == id) {
                json.text("since", &rfc3339(time(*made_ms)));
                json.number("ageDays", ((unix_ms() - made_ms) / DAY_MS).unsigned_abs());
            }
            // A row needs it, be it destroyed: its MAC is by that KEK until it is tied anew.
            json.boolean("safeToRetire", *id != primary && sum.rows() == 0);
        });
        json.list("versions", &versions.into_iter().collect::<Vec<_>>(), |json, (version, sum)| {
            match *version {
                u32::MAX => json.boolean("others", true),
                version => json.number("keyVersion", u64::from(version)),
            }
            sum.write(json);
        });
        json.number("overdue", debt.overdue());
        json.list("oldest", &debt.oldest, |json, (project_id, version, made_ms)| {
            json.text("projectId", project_id);
            json.number("keyVersion", version.unsigned_abs());
            json.text("created", &rfc3339(time(*made_ms)));
        });
        json.texts("reminders", &service.keys.reminders(debt));
    });
}

fn time(unix_ms: i64) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms.unsigned_abs())
}
