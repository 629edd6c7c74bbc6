use super::Checker;
use crate::catalog::Entity;
use crate::rule::checked::{Anniversary, Feb29, Offset, Yearly};
use crate::rule::written::{Feb29Word, YearlyEntry};

impl<'a> Checker<'a> {
    pub(super) fn yearly(&mut self, entity: &'a Entity, written: &YearlyEntry) -> Option<Yearly> {
        let field = self.stored_time(entity, &written.field);
        let at = self.time_of_day(written.at.as_ref());
        let offset = match &written.offset {
            Some(offset) => self.offset(offset)?,
            None => Offset::ON_THE_DAY,
        };
        let feb29 = written.feb29.as_ref().map_or(Feb29::Feb28, |word| feb29(word.value));
        Some(Yearly { field: field?, when: Anniversary { at: at?, offset, feb29 } })
    }
}

const fn feb29(word: Feb29Word) -> Feb29 {
    match word {
        Feb29Word::Feb28 => Feb29::Feb28,
        Feb29Word::Mar1 => Feb29::Mar1,
        Feb29Word::Skip => Feb29::Skip,
    }
}
