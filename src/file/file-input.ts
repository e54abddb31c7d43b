/** The forms in which the bytes of a file may be given, as pieces of at most 1 MiB. */
import { abortable, HoldfastError, utf8Encode } from "../base/index.ts";

/** A `ReadableStream` of bytes, as far as it is needed. */
export interface ByteStream {
  getReader(): {
    read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
    cancel(reason?: unknown): Promise<void>;
  };
}

/**
 * Text is stored as UTF-8. Arrays of bytes must not be changed before the call has ended. `{ stream() }` is a `Blob`. A
 * function is called for the bytes, and again when they are needed once more.
 */
export type FileInput =
  | string
  | Uint8Array
  | AsyncIterable<Uint8Array>
  | Iterable<Uint8Array>
  | ByteStream
  | { stream(): ByteStream }
  | (() => FileInput);

const pieceSize = 1_048_576;

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** Whether the same bytes come again when it is read again. */
export function isRepeatable(input: FileInput): boolean {
  if (typeof input === "string" || typeof input === "function" || input instanceof Uint8Array) return true;
  return Array.isArray(input) || (isObject(input) && "stream" in input);
}

/** Fails with `invalid` on what is none of the forms, also in the middle; `cancelled` or `timeout` when `signal` aborts. */
export async function* inputPieces(
  input: FileInput,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const bytes of sourceOf(input, signal)) {
    if (!(bytes instanceof Uint8Array)) {
      throw new HoldfastError("invalid", `the source of a file gives bytes (Uint8Array); it gave ${typeof bytes}`);
    }
    for (let at = 0; at < bytes.length; at += pieceSize) yield bytes.subarray(at, at + pieceSize);
  }
}

function sourceOf(input: FileInput, signal: AbortSignal | undefined): Iterable<unknown> | AsyncIterable<unknown> {
  if (typeof input === "function") return sourceOf(input(), signal);
  if (typeof input === "string") return [encoded(input)];
  if (input instanceof Uint8Array) return [input];
  if (isObject(input)) {
    if (Symbol.asyncIterator in input) return cancellable(input, signal);
    if (Symbol.iterator in input) return input;
    if ("getReader" in input) return readAll(input, signal);
    if ("stream" in input) return readAll(input.stream(), signal);
  }
  const forms = "text, bytes, an iterable of bytes, a ReadableStream, a Blob, or a function that gives one of them";
  throw new HoldfastError(
    "invalid",
    `the source of a file is ${forms}; it was ${input === null ? "null" : typeof input}`,
  );
}

function encoded(text: string): Uint8Array {
  if (text.isWellFormed()) return utf8Encode(text);
  throw new HoldfastError("invalid", "the text has a lone surrogate, which UTF-8 cannot hold; give bytes instead");
}

/** Ends at once when the signal aborts, although the source may still be waiting for its next piece. */
async function* cancellable(
  input: AsyncIterable<unknown>,
  signal: AbortSignal | undefined,
): AsyncGenerator<unknown, void, undefined> {
  const pieces = input[Symbol.asyncIterator]();
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await abortable(pieces.next(), signal);
      if (done === true) {
        ended = true;
        return;
      }
      yield value;
    }
  } catch (error) {
    // What threw has ended; what was only left behind has not.
    ended = signal?.aborted !== true;
    throw error;
  } finally {
    // A source that waits for something would hold this up: it is told, and that is all.
    if (!ended) pieces.return?.().then(undefined, () => {});
  }
}

async function* readAll(stream: ByteStream, signal: AbortSignal | undefined): AsyncGenerator<unknown, void, undefined> {
  const reader = stream.getReader();
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await abortable(reader.read(), signal);
      if (done) {
        ended = true;
        return;
      }
      yield value;
    }
  } finally {
    if (!ended) reader.cancel().then(undefined, () => {});
  }
}
