/** Small functions on byte arrays that every layer needs. Byte strings are ordered as unsigned bytes, shorter first. */
import { HoldfastError } from "./errors.ts";

export const emptyBytes: Uint8Array = new Uint8Array(0);

/** Negative, zero or positive as `a` sorts before, with or after `b`. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const size = Math.min(a.length, b.length);
  for (let index = 0; index < size; index++) {
    // Both indices are below both lengths.
    const difference = (a[index] as number) - (b[index] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}

export function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  if (bytes.length < prefix.length) return false;
  for (let index = 0; index < prefix.length; index++) if (bytes[index] !== prefix[index]) return false;
  return true;
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const part of parts) size += part.length;
  const whole = new Uint8Array(size);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** The first byte string after all that start with `prefix`; undefined when there is none (the prefix is all 0xff). */
export function prefixEnd(prefix: Uint8Array): Uint8Array | undefined {
  let size = prefix.length;
  while (size > 0 && prefix[size - 1] === 0xff) size--;
  if (size === 0) return undefined;
  const end = prefix.slice(0, size);
  end[size - 1] = (end[size - 1] as number) + 1;
  return end;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A lone surrogate becomes U+FFFD, as in the Encoding Standard. */
export function utf8Encode(text: string): Uint8Array {
  const size = text.length;
  // For short text without accents a loop beats the call.
  if (size > 64) return encoder.encode(text);
  const bytes = new Uint8Array(size);
  for (let index = 0; index < size; index++) {
    const code = text.charCodeAt(index);
    if (code > 127) return encoder.encode(text);
    bytes[index] = code;
  }
  return bytes;
}

/** Fails with `corrupt` on bytes that are not UTF-8. */
export function utf8Decode(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    throw new HoldfastError("corrupt", "the bytes are not UTF-8", { cause: error });
  }
}

const hexDigits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += hexDigits[byte];
  return text;
}

/** Fails with `invalid` on anything but an even number of hexadecimal digits. */
export function fromHex(text: string): Uint8Array {
  if (text.length % 2 !== 0 || /[^0-9a-fA-F]/.test(text)) {
    throw new HoldfastError("invalid", `"${text.slice(0, 80)}" is not an even number of hexadecimal digits`);
  }
  const bytes = new Uint8Array(text.length / 2);
  for (let index = 0; index < bytes.length; index++) bytes[index] = parseInt(text.slice(2 * index, 2 * index + 2), 16);
  return bytes;
}

// The callers below have checked that the offset is inside; what is read outside would count as 0.

export function readUint32LE(bytes: Uint8Array, offset: number): number {
  return (
    ((bytes[offset] as number) |
      ((bytes[offset + 1] as number) << 8) |
      ((bytes[offset + 2] as number) << 16) |
      ((bytes[offset + 3] as number) << 24)) >>>
    0
  );
}

export function writeUint32LE(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
  bytes[offset + 2] = value >>> 16;
  bytes[offset + 3] = value >>> 24;
}

/** A safe integer from 8 bytes; a larger number loses precision, so the caller checks `Number.isSafeInteger`. */
export function readUint64LE(bytes: Uint8Array, offset: number): number {
  return readUint32LE(bytes, offset) + readUint32LE(bytes, offset + 4) * 4_294_967_296;
}

export function writeUint64LE(bytes: Uint8Array, offset: number, value: number): void {
  writeUint32LE(bytes, offset, value >>> 0);
  writeUint32LE(bytes, offset + 4, Math.floor(value / 4_294_967_296));
}

/** Big-endian, so that the order of the bytes is the order of the numbers: for keys. */
export function readUint64BE(bytes: Uint8Array, offset: number): number {
  return readUint32BE(bytes, offset) * 4_294_967_296 + readUint32BE(bytes, offset + 4);
}

export function writeUint64BE(bytes: Uint8Array, offset: number, value: number): void {
  writeUint32BE(bytes, offset, Math.floor(value / 4_294_967_296));
  writeUint32BE(bytes, offset + 4, value >>> 0);
}

export function readUint32BE(bytes: Uint8Array, offset: number): number {
  return (
    (((bytes[offset] as number) << 24) |
      ((bytes[offset + 1] as number) << 16) |
      ((bytes[offset + 2] as number) << 8) |
      (bytes[offset + 3] as number)) >>>
    0
  );
}

export function writeUint32BE(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 24;
  bytes[offset + 1] = value >>> 16;
  bytes[offset + 2] = value >>> 8;
  bytes[offset + 3] = value;
}
