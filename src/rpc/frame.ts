/**
 * The frames of an rpc connection: their kinds, bodies and bounds. The grammar is in `docs/format.md`, "Rpc frames".
 *
 * Each side first sends a preface, then frames. A frame is `kind u8, call varint, size varint, body bytes[size]`; the
 * low four bits of the kind are its type, the high four its flags. Calls are numbered by the client, ascending from 1,
 * and a number is never used twice on a connection: a frame of a call that is over is passed over, one of a call that
 * never was is malformed.
 */
import { errorCodes, HoldfastError, limits, utf8Encode } from "../base/index.ts";
import type { ErrorCode } from "../base/index.ts";

/** The types of frames. Frames about the whole connection have the call 0. */
export const frameType = {
  /** Client to server: from now on the service of this name is the next number, counted from 1. */
  bind: 1,
  /** Client to server: begins a call: service, method, milliseconds it may take (0: no deadline), first message. */
  open: 2,
  /** A message or a part of one. */
  message: 3,
  /** The sender sends no more messages in this call. */
  end: 4,
  /** The receiver has taken bytes; so many more may be sent in this call. */
  credit: 5,
  /** Client to server: the call is over; nobody waits for what it still gives. The body is a code. */
  cancel: 6,
  /** Server to client: the call has failed and is over. */
  error: 7,
  /** Asks for a pong, to learn whether the peer lives. */
  ping: 8,
  pong: 9,
  /** The sender takes no calls numbered above the first number of the body, and why. */
  goAway: 10,
} as const;

export const frameFlag = {
  /** The last frame of this sender in the call. */
  end: 0x10,
  /** Another part of the same message follows. The first such part starts with the message's size as a varint. */
  more: 0x20,
  /** An open frame that holds a message, or its first part. */
  content: 0x40,
} as const;

export const typeMask = 0x0f;

/** What flags each type may carry; a type that is not here does not exist. */
const flagsOf: Readonly<Record<number, readonly number[]>> = {
  [frameType.bind]: [0],
  [frameType.open]: [
    0,
    frameFlag.end,
    frameFlag.content,
    frameFlag.content | frameFlag.end,
    frameFlag.content | frameFlag.more,
  ],
  [frameType.message]: [0, frameFlag.end, frameFlag.more],
  [frameType.end]: [0],
  [frameType.credit]: [0],
  [frameType.cancel]: [0],
  [frameType.error]: [0],
  [frameType.ping]: [0],
  [frameType.pong]: [0],
  [frameType.goAway]: [0],
};

/** Whether each of the 256 kinds may occur. */
export const knownKinds: Uint8Array = new Uint8Array(256);
for (const [type, flags] of Object.entries(flagsOf)) for (const flag of flags) knownKinds[Number(type) | flag] = 1;

/** A kind and two varints: the call up to 2^53 - 1, the size up to `limits.frameSizeMax`. */
export const headerSizeMax = 1 + 8 + 4;
/** Service, method, timeout and the size of a message in parts, each a varint. */
const openSizeMax = 4 * 8;

/**
 * What a message costs beyond its bytes, so that a stream of empty messages is not free. A message in parts costs it
 * once.
 */
export const messageOverhead = 32;

/** Parts are at most this long, so that a large message leaves room for others between its parts. */
const partSizeMax = 65_536;

/** How many services one connection may bind. */
export const bindCountMax = 1_024;

/** `HFRP`. */
const magic = [0x48, 0x46, 0x52, 0x50] as const;
const version = 1;
export const prefaceSize = 16;
const windowSizeMin = 16_384;
const windowSizeMax = 1_073_741_824;
const frameSizeMin = 16_384;

/** What each side tells the other at the start. */
export interface ChannelSettings {
  /** Bytes of messages that the peer may send in each call before the first credit. */
  readonly windowSize: number;
  /** The largest frame that this side takes, header included. */
  readonly frameSizeMax: number;
}

export const defaultSettings: ChannelSettings = { windowSize: 262_144, frameSizeMax: limits.frameSizeMax };

export function malformed(what: string): HoldfastError {
  return new HoldfastError("corrupt", `malformed rpc frame: ${what}`);
}

export function checkSettings(settings: ChannelSettings): void {
  const { windowSize } = settings;
  if (!Number.isInteger(windowSize) || windowSize < windowSizeMin || windowSize > windowSizeMax) {
    const bounds = `${windowSizeMin} to ${windowSizeMax}`;
    throw new HoldfastError("invalid", `the rpc window is ${windowSize} bytes; give ${bounds} (windowSize)`);
  }
}

export function encodePreface(settings: ChannelSettings): Uint8Array {
  const bytes = new Uint8Array(prefaceSize);
  bytes.set(magic);
  bytes[4] = version;
  const view = new DataView(bytes.buffer);
  view.setUint32(8, settings.windowSize, true);
  view.setUint32(12, settings.frameSizeMax, true);
  return bytes;
}

export function decodePreface(bytes: Uint8Array): ChannelSettings {
  if (magic.some((byte, index) => bytes[index] !== byte)) {
    throw new HoldfastError("corrupt", "the peer does not speak Holdfast rpc: its first bytes are not HFRP");
  }
  if (bytes[4] !== version) {
    const message = `the peer speaks version ${bytes[4]} of Holdfast rpc, this side version ${version}; use equal versions`;
    throw new HoldfastError("corrupt", message);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, prefaceSize);
  const settings = { windowSize: view.getUint32(8, true), frameSizeMax: view.getUint32(12, true) };
  if (settings.windowSize < windowSizeMin || settings.windowSize > windowSizeMax) {
    throw malformed(`the preface announces a window of ${settings.windowSize} bytes`);
  }
  if (settings.frameSizeMax < frameSizeMin) {
    throw malformed(`the preface announces frames of at most ${settings.frameSizeMax} bytes`);
  }
  return settings;
}

/** The longest part that may be sent to a peer with these settings; a message up to it goes whole, in one frame. */
export function partSize(peer: ChannelSettings): number {
  const byFrame = peer.frameSizeMax - headerSizeMax - openSizeMax;
  // Half a window can always be sent once everything sent before has been taken: credit comes at the latest then.
  const byWindow = Math.floor(peer.windowSize / 2) - messageOverhead;
  return Math.min(partSizeMax, byFrame, byWindow);
}

/** A cursor for the few numbers in the bodies of frames. */
export class BodyReader {
  #bytes: Uint8Array = new Uint8Array(0);
  position = 0;
  #end = 0;

  /** Points the cursor at a body. */
  over(bytes: Uint8Array, start: number, end: number): this {
    this.#bytes = bytes;
    this.position = start;
    this.#end = end;
    return this;
  }

  /** A varint up to 2^53 - 1. */
  varint(): number {
    const bytes = this.#bytes;
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 8; count++) {
      if (this.position >= this.#end) throw malformed("a number in a body is cut off");
      const byte = bytes[this.position++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 128) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      scale *= 128;
    }
    throw malformed("a number in a body is over 2^53 - 1");
  }

  /** The body must be over. */
  done(): void {
    if (this.position !== this.#end) throw malformed(`${this.#end - this.position} bytes follow the end of a body`);
  }
}

const codeOfNumber = new Map<number, ErrorCode>(
  Object.entries(errorCodes).map(([code, { grpc }]) => [grpc, code as ErrorCode]),
);
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** Longer error messages are cut for the wire. */
const errorTextLengthMax = 1_024;

/** `code u8, maybe u8, message utf8`. */
export function encodeError(error: HoldfastError): Uint8Array {
  const { message } = error;
  const cut = message.length > errorTextLengthMax ? `${message.slice(0, errorTextLengthMax)} …` : message;
  const text = utf8Encode(cut.toWellFormed());
  const body = new Uint8Array(2 + text.length);
  body[0] = errorCodes[error.code].grpc;
  body[1] = error.maybe ? 1 : 0;
  body.set(text, 2);
  return body;
}

/** A code of a newer version, which this one does not know, reads as `unavailable`. */
export function decodeError(bytes: Uint8Array, start: number, end: number): HoldfastError {
  if (end - start < 2) throw malformed("an error without code");
  const code = codeOfNumber.get(bytes[start] as number) ?? "unavailable";
  let text: string;
  try {
    text = decoder.decode(bytes.subarray(start + 2, end));
  } catch {
    throw malformed("an error whose message is not UTF-8");
  }
  return new HoldfastError(code, text, { maybe: bytes[start + 1] === 1 });
}

export function codeNumber(code: ErrorCode): number {
  return errorCodes[code].grpc;
}

export function codeOf(number: number | undefined): ErrorCode {
  return (number === undefined ? undefined : codeOfNumber.get(number)) ?? "cancelled";
}
