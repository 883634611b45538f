//! Values by numbers that fit into what epoll hands back.

/// Names one value for as long as it lives; a later one in the same place has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl Key {
    /// Generations wrap around at so many.
    pub(crate) const GENERATIONS: u32 = 1 << 29;
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    /// What `make` makes of its own key.
    pub(crate) fn insert(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        let key = Key { index, generation: place.0 };
        place.1 = Some(make(key));
        key
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.places.get_mut(key.index as usize) {
            Some((generation, value)) if *generation == key.generation => value.as_mut(),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, value) = self.places.get_mut(key.index as usize)?;
        if *generation != key.generation {
            return None;
        }
        let value = value.take()?;
        *generation = (*generation + 1) % Key::GENERATIONS;
        self.free.push(key.index);
        Some(value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0..).zip(&self.places).filter_map(|(index, (generation, value))| {
            let key = Key { index, generation: *generation };
            value.as_ref().map(|value| (key, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_one_value_alone() {
        let mut slab = Slab::new();
        let [first, second] = ["first", "second"].map(|value| slab.insert(|_| value));
        assert_eq!(slab.remove(first), Some("first"));
        let third = slab.insert(|_| "third");
        assert_eq!((third.index, slab.remove(first)), (first.index, None));
        assert_eq!(slab.get_mut(first), None);
        let all: Vec<_> = slab.iter().map(|(key, value)| (key, *value)).collect();
        assert_eq!(all, [(third, "third"), (second, "second")]);
    }
}
