//! A round's figures as files: CSV, JSON Lines, and an event file as TensorBoard reads it.

use crc::{CRC_32_ISCSI, Crc};
use laurel_protocol::{MetricPoint, Split, Timestamp};
use std::collections::BTreeSet;

fn name_of(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Eval => "eval",
    }
}

/// A line for each step and split: `step,split`, then every figure that the round has, in the order of their names; empty
/// where the step has none. Numbers come back as they were.
pub fn csv(points: &[MetricPoint]) -> String {
    let names: BTreeSet<&str> = points
        .iter()
        .flat_map(|point| point.values.keys().map(String::as_str))
        .collect();
    let mut text = "step,split".to_owned();
    for name in &names {
        text.push(',');
        text.push_str(&quoted(name));
    }
    text.push('\n');
    for point in points {
        text.push_str(&format!("{},{}", point.step, name_of(point.split)));
        for name in &names {
            text.push(',');
            if let Some(value) = point.values.get(*name) {
                text.push_str(&value.to_string());
            }
        }
        text.push('\n');
    }
    text
}

/// Trainers name figures: a name may hold anything.
fn quoted(name: &str) -> String {
    match name.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", name.replace('"', "\"\"")),
        false => name.to_owned(),
    }
}

/// A [`MetricPoint`] a line.
pub fn json_lines(points: &[MetricPoint]) -> serde_json::Result<String> {
    let mut text = String::new();
    for point in points {
        text.push_str(&serde_json::to_string(point)?);
        text.push('\n');
    }
    Ok(text)
}

/// A TFRecord file of `tensorflow.Event` messages, scalars tagged `train/loss`, `eval/loss` and so on. When each step was is
/// not kept: all bear the time at which the round was begun.
pub fn tensorboard(points: &[MetricPoint], began: Timestamp) -> Vec<u8> {
    let time = began.0 as f64 / 1000.0;
    let mut file = Vec::new();
    // Event.file_version = 3
    let mut first = event(time, 0);
    bytes_field(&mut first, 3, b"brain.Event:2");
    record(&mut file, &first);
    for point in points {
        let mut summary = Vec::new();
        for (name, value) in &point.values {
            // Summary.Value: tag = 1, simple_value = 2
            let mut entry = Vec::new();
            bytes_field(
                &mut entry,
                1,
                format!("{}/{name}", name_of(point.split)).as_bytes(),
            );
            entry.push(2 << 3 | 5);
            entry.extend((*value as f32).to_le_bytes());
            bytes_field(&mut summary, 1, &entry);
        }
        let mut event = event(time, point.step);
        bytes_field(&mut event, 5, &summary);
        record(&mut file, &event);
    }
    file
}

/// Event: wall_time = 1 (double), step = 2 (int64)
fn event(time: f64, step: u64) -> Vec<u8> {
    let mut event = vec![1 << 3 | 1];
    event.extend(time.to_le_bytes());
    if step > 0 {
        event.push(2 << 3);
        varint(&mut event, step);
    }
    event
}

/// A field of Protocol Buffers' wire type 2.
fn bytes_field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn varint(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

/// Length, its masked CRC-32C, the bytes, and theirs.
fn record(file: &mut Vec<u8>, bytes: &[u8]) {
    let length = (bytes.len() as u64).to_le_bytes();
    file.extend(length);
    file.extend(masked_crc(&length).to_le_bytes());
    file.extend(bytes);
    file.extend(masked_crc(bytes).to_le_bytes());
}

fn masked_crc(bytes: &[u8]) -> u32 {
    const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    CASTAGNOLI
        .checksum(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Vec<MetricPoint> {
        let point = |step, split, values: &[(&str, f64)]| MetricPoint {
            step,
            split,
            values: values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
        };
        vec![
            point(1, Split::Train, &[("loss", 0.1), ("kl", -3e-9)]),
            point(300, Split::Eval, &[("loss", 0.25), ("a,\"b\"", 2.0)]),
        ]
    }

    #[test]
    fn a_table_has_a_column_for_every_figure_and_numbers_as_they_were() {
        let expected = "step,split,\"a,\"\"b\"\"\",kl,loss\n1,train,,-0.000000003,0.1\n300,eval,2,,0.25\n";
        assert_eq!(csv(&points()), expected);
        assert_eq!(csv(&[]), "step,split\n");
    }

    #[test]
    fn a_line_of_json_comes_back_as_its_point() {
        let text = json_lines(&points()).unwrap();
        let back: Vec<MetricPoint> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(back, points());
    }

    /// What `tensorboard.compat.proto.event_pb2` and `tensorboard.summary.writer.record_writer` (2.21) write for the same.
    #[test]
    fn an_event_file_is_byte_for_byte_tensorboards() {
        let file = tensorboard(&points(), Timestamp(1_700_000_000_500));
        let hex: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("../tests/golden/events.tfevents.hex").trim());
    }
}
