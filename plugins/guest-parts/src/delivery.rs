//! Lines to one output: one write for a batch, and another only where a line must be left out.

/// Why lines were not written, as the interface `lines` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteError {
    /// The plugin may not write there.
    NotGranted(String),
    /// Not now.
    Unavailable(String),
    /// The line of this index is longer than the output takes.
    TooLong(u64),
    /// The line of this index holds a line feed or a NUL.
    Malformed(u64),
}

/// The outputs that the host offers, and the operator's log.
pub trait Outputs {
    /// Writes all of `lines` to `output`, or says why not.
    fn write(&mut self, output: &str, lines: &[String]) -> Result<(), WriteError>;
    /// Tells the operator of something that only they can repair.
    fn error(&mut self, message: &str);
    /// Tells the operator of something that passes.
    fn warn(&mut self, message: &str);
}

/// What did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDelivered {
    /// The whole batch must come again.
    Retry,
    /// These records never will; the rest has arrived.
    Rejected(Vec<(u64, String)>),
}

/// Writes `lines`, each with its record's number, to `output`. `refused` are records that never became a line.
///
/// A missing grant is tried again like an output that is down: records must outlive a mistake in the configuration.
pub fn deliver(
    outputs: &mut impl Outputs,
    output: &str,
    lines: Vec<(u64, String)>,
    mut refused: Vec<(u64, String)>,
) -> Result<(), NotDelivered> {
    let (mut seqs, mut lines): (Vec<u64>, Vec<String>) = lines.into_iter().unzip();
    // Each turn ends the loop or takes one line out.
    while !lines.is_empty() {
        let (index, why) = match outputs.write(output, &lines) {
            Ok(()) => break,
            Err(WriteError::TooLong(index)) => (index, "longer than the output takes"),
            Err(WriteError::Malformed(index)) => (index, "holds a line feed or a NUL"),
            Err(WriteError::Unavailable(why)) => {
                outputs.warn(&format!("output {output:?} takes nothing now: {why}"));
                return Err(NotDelivered::Retry);
            }
            Err(WriteError::NotGranted(why)) => {
                outputs.error(&format!("output {output:?} is not granted, so records wait: {why}"));
                return Err(NotDelivered::Retry);
            }
        };
        let Some(index) = usize::try_from(index).ok().filter(|index| *index < lines.len()) else {
            outputs.error(&format!("output {output:?} refuses line {index}, which was not sent"));
            return Err(NotDelivered::Retry);
        };
        lines.remove(index);
        refused.push((seqs.remove(index), why.to_owned()));
    }
    if refused.is_empty() { Ok(()) } else { Err(NotDelivered::Rejected(refused)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Scripted {
        answers: Vec<Result<(), WriteError>>,
        written: Vec<Vec<String>>,
        errors: usize,
    }

    impl Outputs for Scripted {
        fn write(&mut self, _: &str, lines: &[String]) -> Result<(), WriteError> {
            self.written.push(lines.to_vec());
            self.answers.remove(0)
        }
        fn error(&mut self, _: &str) {
            self.errors = self.errors.saturating_add(1);
        }
        fn warn(&mut self, _: &str) {}
    }

    fn run(answers: Vec<Result<(), WriteError>>) -> (Result<(), NotDelivered>, Scripted) {
        let mut outputs = Scripted { answers, ..Scripted::default() };
        let lines = [(7, "a"), (8, "b"), (9, "c")].map(|(seq, line)| (seq, line.to_owned())).to_vec();
        (deliver(&mut outputs, "out", lines, Vec::new()), outputs)
    }

    #[test]
    fn a_batch_is_one_write() {
        let (result, outputs) = run(vec![Ok(())]);
        assert_eq!((result, outputs.written.len()), (Ok(()), 1));
    }

    #[test]
    fn a_refused_line_is_left_out_and_the_rest_written() {
        let (result, outputs) = run(vec![Err(WriteError::TooLong(1)), Err(WriteError::Malformed(1)), Ok(())]);
        assert_eq!(outputs.written, [vec!["a", "b", "c"], vec!["a", "c"], vec!["a"]]);
        let Err(NotDelivered::Rejected(refused)) = result else { panic!("{result:?}") };
        assert_eq!(refused.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [8, 9]);
    }

    #[test]
    fn when_all_are_refused_nothing_more_is_written() {
        let first = || Err(WriteError::TooLong(0));
        let (result, outputs) = run(vec![first(), first(), first()]);
        assert!(matches!(result, Err(NotDelivered::Rejected(refused)) if refused.len() == 3));
        assert_eq!(outputs.written.len(), 3);
    }

    #[test]
    fn what_may_pass_is_tried_again_even_after_a_refusal() {
        let (result, outputs) = run(vec![Err(WriteError::TooLong(0)), Err(WriteError::Unavailable("down".to_owned()))]);
        assert_eq!((result, outputs.errors), (Err(NotDelivered::Retry), 0));
        let (result, outputs) = run(vec![Err(WriteError::NotGranted("lines".to_owned()))]);
        assert_eq!((result, outputs.errors), (Err(NotDelivered::Retry), 1));
    }

    #[test]
    fn an_index_that_was_not_sent_is_not_believed() {
        let (result, outputs) = run(vec![Err(WriteError::Malformed(3))]);
        assert_eq!((result, outputs.errors), (Err(NotDelivered::Retry), 1));
    }

    #[test]
    fn records_that_never_became_a_line_are_told() {
        let mut outputs = Scripted::default();
        let refused = vec![(4, "why".to_owned())];
        assert_eq!(deliver(&mut outputs, "out", Vec::new(), refused.clone()), Err(NotDelivered::Rejected(refused)));
        assert!(outputs.written.is_empty());
    }
}
