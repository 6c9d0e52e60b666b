//! What the reactor watches, kept by small numbers that go into the kernel's events ([`super::token`]).

use std::ops::{Index, IndexMut};

use slab::Slab;

use super::token::Slot;

/// A slab whose places are told apart from their former tenants: an event that was under way when its descriptor was
/// closed does not reach what has the place now.
#[derive(Debug)]
pub(super) struct Table<T> {
    rows: Slab<Row<T>>,
    /// Of the last one that was put in. It comes round after 2^32.
    generation: u32,
}

#[derive(Debug)]
struct Row<T> {
    generation: u32,
    value: T,
}

// Derived, it would ask the same of `T`.
impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table {
            rows: Slab::new(),
            generation: 0,
        }
    }
}

impl<T> Table<T> {
    /// The slot of the next one that is put in, for its registration before that. The bounds on what there is keep the
    /// index below 2^28.
    pub fn next_slot(&self) -> Slot {
        #[allow(clippy::cast_possible_truncation)]
        Slot {
            index: self.rows.vacant_key() as u32,
            generation: self.generation.wrapping_add(1),
        }
    }

    /// Puts one in; its place.
    pub fn insert(&mut self, value: T) -> usize {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        self.rows.insert(Row { generation, value })
    }

    /// The place of the one that had this slot when the event came up; None when it is gone.
    pub fn place_of(&self, slot: Slot) -> Option<usize> {
        let place = slot.index as usize;
        let row = self.rows.get(place)?;
        (row.generation == slot.generation).then_some(place)
    }

    /// Which of all that were put in this is. None may be at the place: it panics.
    pub fn generation(&self, place: usize) -> u32 {
        self.rows[place].generation
    }

    pub fn get(&self, place: usize) -> Option<&T> {
        self.rows.get(place).map(|row| &row.value)
    }

    pub fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.rows.get_mut(place).map(|row| &mut row.value)
    }

    /// Takes one out, if there is one.
    pub fn take(&mut self, place: usize) -> Option<T> {
        self.rows.try_remove(place).map(|row| row.value)
    }

    /// Takes one out that is there: otherwise it panics.
    pub fn remove(&mut self, place: usize) -> T {
        self.rows.remove(place).value
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Each with its place, in order of places.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.rows.iter().map(|(place, row)| (place, &row.value))
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        let rows = self.rows.iter_mut();
        rows.map(|(place, row)| (place, &mut row.value))
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.rows.iter().map(|(_, row)| &row.value)
    }

    /// The place of the first one of which this is true.
    pub fn find(&self, is_it: impl Fn(&T) -> bool) -> Option<usize> {
        let found = self.iter().find(|(_, value)| is_it(value));
        found.map(|(place, _)| place)
    }
}

impl<T> Index<usize> for Table<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        &self.rows[place].value
    }
}

impl<T> IndexMut<usize> for Table<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        &mut self.rows[place].value
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn an_event_of_a_former_tenant_reaches_nobody() {
        let mut table = Table::default();
        let slot = table.next_slot();
        let place = table.insert("one");
        assert_eq!(table.place_of(slot), Some(place));
        assert_eq!(table.take(place), Some("one"));
        assert_eq!(table.place_of(slot), None);
        let next = table.next_slot();
        assert_eq!(table.insert("two"), place);
        assert_eq!(table.place_of(slot), None);
        assert_eq!(table.place_of(next), Some(place));
    }
}
