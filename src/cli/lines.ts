/**
 * Splits a stream of bytes into lines of text. A line ends with a line feed and nothing else: what else Unicode calls a
 * line break may stand inside a JSON text, where `node:readline` would cut it.
 */
import { HoldfastError } from "../base/index.ts";

export interface TextLine {
  /** Without the line feed, and without a carriage return before it. */
  readonly text: string;
  /** Bytes of it, line feed included. */
  readonly size: number;
}

/** Room for the largest value in its longest spelling. */
const lineSizeMax = 16_777_216;
const lineFeed = 10;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** All lines that end in one piece of the stream come together. `invalid` names `place` and the number of a bad line. */
export async function* readLines(input: AsyncIterable<Uint8Array>, place: string): AsyncGenerator<TextLine[]> {
  let number = 0;
  let pieces: Uint8Array[] = [];
  let piecesSize = 0;
  const line = (end: Uint8Array, breakSize: number): TextLine => {
    number++;
    const bytes = pieces.length === 0 ? end : Buffer.concat([...pieces, end]);
    pieces = [];
    piecesSize = 0;
    return { text: decode(bytes, `${place}:${number}`), size: bytes.length + breakSize };
  };
  for await (const chunk of input) {
    const lines: TextLine[] = [];
    let begin = 0;
    for (let at = chunk.indexOf(lineFeed); at >= 0; at = chunk.indexOf(lineFeed, begin)) {
      lines.push(line(chunk.subarray(begin, at), 1));
      begin = at + 1;
    }
    if (begin < chunk.length) {
      pieces.push(chunk.subarray(begin));
      piecesSize += chunk.length - begin;
      if (piecesSize > lineSizeMax) {
        const limit = `the limit is ${lineSizeMax.toLocaleString("en")}`;
        throw new HoldfastError("invalid", `${place}:${number + 1} is longer than any record: ${limit} bytes`);
      }
    }
    if (lines.length > 0) yield lines;
  }
  if (piecesSize > 0) yield [line(new Uint8Array(0), 0)];
}

function decode(bytes: Uint8Array, place: string): string {
  try {
    const text = decoder.decode(bytes);
    return text.endsWith("\r") ? text.slice(0, -1) : text;
  } catch {
    throw new HoldfastError("invalid", `${place} is not UTF-8; JSON lines are text (bytes go as "base64")`);
  }
}
