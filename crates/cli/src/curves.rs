//! The figures of each epoch, and their picture.

use kiln::train::{Epoch, Figures};

use crate::svg::{Line, Panel, Picture, Scale};

/// Loss and accuracy after each epoch, of the training and of the held-out images.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Curves(Vec<[f64; 4]>);

impl Curves {
    pub(crate) fn add(&mut self, epoch: &Epoch) {
        let pair = |figures: Figures| [figures.loss, figures.metric.unwrap_or(f64::NAN)];
        let ([a, b], [c, d]) = (pair(epoch.train), epoch.validation.map_or([f64::NAN; 2], pair));
        self.0.push([a, b, c, d]);
    }

    /// How many epochs there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A line of four numbers for each epoch.
    pub(crate) fn write(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(|[a, b, c, d]| format!("{a} {b} {c} {d}")).collect();
        lines.join("\n")
    }

    /// What [`write`](Curves::write) wrote.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let numbers = |line: &str| line.split(' ').map(|word| word.parse().ok()).collect::<Option<Vec<f64>>>();
        text.lines().map(|line| numbers(line)?.try_into().ok()).collect::<Option<_>>().map(Self)
    }

    /// The picture: loss on the left, accuracy on the right.
    pub(crate) fn svg(&self, title: &str, subtitle: &str) -> String {
        let line = |name, column: usize| Line { name, values: self.0.iter().map(|epoch| epoch[column]).collect() };
        let panel = |title, scale, column: usize| {
            let lines = vec![line("training", column), line("held out", column + 2)];
            Panel { title, scale, lines }
        };
        let panels = vec![panel("Loss", Scale::Log, 0), panel("Accuracy", Scale::Percent, 1)];
        Picture { title, subtitle, x_label: "epoch", panels }.svg()
    }
}

#[cfg(test)]
mod tests {
    use super::Curves;

    #[test]
    fn what_is_written_is_read_again() {
        for rows in [vec![], vec![[0.5, 0.25, 1e-30, 1.0]], vec![[2.3, 0.1, 2.2, 0.2], [0.7, 0.8, f64::INFINITY, 1.0]]]
        {
            let curves = Curves(rows);
            assert_eq!(Curves::read(&curves.write()), Some(curves));
        }
        assert_eq!(Curves::read("1 2 3"), None);
        assert_eq!(Curves::read("1 2 3 x"), None);
    }
}
