//! Reads user agents from its input, one a line, and writes for each `bot` or `-`, browser, system and device,
//! with tabs between. `bin/measure-parsers` compares that with what others say.

use std::io::{self, BufRead, Write};

use site_stats_parsers::{client, is_bot};

fn main() -> io::Result<()> {
    let mut output = io::BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let agent = line?;
        let client = client(&agent);
        let [browser, os, device] =
            [client.browser, client.os, client.device].map(|word| word.unwrap_or("-"));
        let bot = if is_bot(&agent) { "bot" } else { "-" };
        writeln!(output, "{bot}\t{browser}\t{os}\t{device}")?;
    }
    output.flush()
}
