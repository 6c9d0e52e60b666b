//! Text for people: pure functions from a response and a style to text.
