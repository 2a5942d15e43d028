//! Which errors show damage, and which an intact segment gives as well.

use ringway::error::{GetError, OpenError, PutError};

use super::arena::ROLES_TAKEN;
use super::session::Session;
use super::status::ERRORS;

impl Session<'_> {
    pub(super) fn report(&mut self, error: &str, shown: &dyn std::fmt::Debug) {
        if self.tell {
            println!("  {error}: {shown:?}");
        }
        let index = ERRORS.iter().position(|&name| name == error).unwrap_or(ERRORS.len() - 1);
        self.reported |= 1 << index;
    }

    pub(super) fn opened<T>(&mut self, result: Result<T, OpenError>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        match &error {
            OpenError::Corrupt { .. } => self.report("corrupt", &error),
            OpenError::ConfigMismatch { .. } => self.report("config_mismatch", &error),
            OpenError::Permission { .. } => self.report("permission", &error),
            OpenError::NoSuchRing { .. } => self.report("no_such_ring", &error),
            OpenError::TooManyParticipants { .. } => self.report("too_many_participants", &error),
            OpenError::RoleTaken { .. } => {}
            OpenError::Destroyed { .. } | OpenError::NotFound { .. } if self.may_be_destroyed => {}
            OpenError::Destroyed { .. } => self.report("destroyed", &error),
            OpenError::NotFound { .. } => self.report("not_found", &error),
            OpenError::Io { .. } => self.report("io", &error),
            _ => self.report("other", &error),
        }
        None
    }

    pub(super) fn was_put<T>(&mut self, result: Result<T, PutError>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        match error {
            PutError::Full | PutError::Timeout | PutError::TooLarge { .. } => {}
            PutError::Closed if self.may_be_closed => {}
            PutError::Destroyed if self.may_be_destroyed => {}
            // By a lease or a reservation of our own, or in the file whose roles are taken.
            PutError::RoleTaken { pid } if pid == std::process::id() => {}
            PutError::RoleTaken { .. } if self.plan.file == ROLES_TAKEN => {}
            PutError::RoleTaken { .. } => self.report("role_taken", &error),
            PutError::Corrupt { .. } => self.report("corrupt", &error),
            PutError::Exhausted => self.report("exhausted", &error),
            PutError::Closed => self.report("closed", &error),
            PutError::Destroyed => self.report("destroyed", &error),
            PutError::Open(error) => {
                self.opened::<()>(Err(*error));
            }
            _ => self.report("other", &error),
        }
        None
    }

    pub(super) fn was_got<T>(&mut self, result: Result<T, GetError>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        match error {
            GetError::Empty | GetError::Timeout => {}
            GetError::Closed | GetError::Draining { .. } if self.may_be_closed => {}
            GetError::Destroyed if self.may_be_destroyed => {}
            GetError::RoleTaken { pid } if pid == std::process::id() => {}
            GetError::RoleTaken { .. } if self.plan.file == ROLES_TAKEN => {}
            GetError::RoleTaken { .. } => self.report("role_taken", &error),
            GetError::Corrupt { .. } => self.report("corrupt", &error),
            GetError::Closed | GetError::Draining { .. } => self.report("closed", &error),
            GetError::Destroyed => self.report("destroyed", &error),
            GetError::Open(error) => {
                self.opened::<()>(Err(*error));
            }
            _ => self.report("other", &error),
        }
        None
    }
}
