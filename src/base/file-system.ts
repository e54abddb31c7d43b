/**
 * The file system of the machine, as far as whole trees of it go in and out of a store. `host/` has the real one, tests
 * one in memory.
 *
 * Paths are text with `/` between names. A name may be any bytes but `/` and NUL: bytes that are no UTF-8 stand as the lone
 * surrogates U+DC80 to U+DCFF (`pathBytes`, `pathText`; PEP 383 does it so), so that every name goes through unharmed.
 *
 * Failures are `HoldfastError`s that name the path: `notFound`, `exists`, `denied`, `exhausted` (no space), `invalid` (not a folder, name
 * too long), else `unavailable`.
 */

export interface FileStat {
  /** `other`: a device, a socket, a pipe. */
  readonly type: "file" | "folder" | "link" | "other";
  /** Bytes. */
  readonly size: number;
  /** Permission bits, set-user-id, set-group-id and sticky: 12 bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since the Unix epoch, of the last change of the contents, and of anything. */
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
  /** Together they name a file of this machine, as long as it exists. */
  readonly device: bigint;
  readonly inode: bigint;
  /** Names that the file has; above 1 there are hard links. */
  readonly linkCount: number;
}

/** What is set on a file or folder; what is absent stays. */
export interface FileAttributes {
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly modifiedNs?: bigint | undefined;
}

export interface FolderEntry {
  readonly name: string;
  readonly stat: FileStat;
}

export interface FileSystem {
  /** Of the name itself: a symbolic link is not followed. Undefined if there is nothing, also not the folder of it. */
  stat(path: string): Promise<FileStat | undefined>;
  /** Everything in a folder, sorted by the bytes of the names. What vanishes meanwhile is left out. */
  list(path: string): Promise<FolderEntry[]>;
  readLink(path: string): Promise<string>;
  /** A plain file, for reading; `invalid` for anything else, also a link. */
  open(path: string): Promise<OpenedFile>;
  /** Opens for writing, making it with mode 0600 if it is missing; what is in it stays. A link is not followed: `exists`. */
  create(path: string): Promise<WritableFile>;
  /**
   * Writes a whole small file under another name, gives it its attributes and then its name, replacing a file that has
   * it: nobody sees a part of it under `path`. Not durable. A process that dies meanwhile leaves a file beside it whose
   * name begins with `temporaryPrefix`.
   */
  place(path: string, bytes: Uint8Array, attributes: FileAttributes): Promise<void>;
  /** Its parent must exist. `exists` if something has the name. */
  makeFolder(path: string, mode: number): Promise<void>;
  makeLink(path: string, target: string): Promise<void>;
  /** A second name for a file. `exists` if something has the name. */
  linkFile(existing: string, path: string): Promise<void>;
  /** Of a link itself, not of what it names; the mode of a link is left alone. Lacking the right to set an owner is no error. */
  setAttributes(path: string, attributes: FileAttributes): Promise<void>;
  /** Atomic; replaces a file or link at `to`. */
  rename(from: string, to: string): Promise<void>;
  /** A file or a link. */
  remove(path: string): Promise<void>;
  /** An empty folder; `exists` when something is in it. */
  removeFolder(path: string): Promise<void>;
  /** Makes the entries of a folder durable. */
  syncFolder(path: string): Promise<void>;
}

export interface OpenedFile {
  stat(): Promise<FileStat>;
  /** Up to `size` bytes; fewer only at the end. The array is the caller's. */
  read(offset: number, size: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

export interface WritableFile extends OpenedFile {
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** Cuts, or extends with a hole. */
  truncate(size: number): Promise<void>;
  sync(): Promise<void>;
}

/** What the names of files begin with that are written under another name first. */
export const temporaryPrefix = ".holdfast-part-";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A path as bytes. */
export function pathBytes(path: string): Uint8Array {
  if (path.isWellFormed()) return encoder.encode(path);
  const parts: number[] = [];
  for (const character of path) {
    const code = character.codePointAt(0) as number; // Iterating gives no empty text.
    if (code >= 0xdc80 && code <= 0xdcff) parts.push(code - 0xdc00);
    else for (const byte of encoder.encode(character)) parts.push(byte);
  }
  return Uint8Array.from(parts);
}

/** The bytes of a path as text; `pathBytes` gives them back. */
export function pathText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    // Some of it is no UTF-8.
  }
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const size = sequenceSize(bytes, at);
    if (size === 0) text += String.fromCharCode(0xdc00 + (bytes[at] as number));
    else text += decoder.decode(bytes.subarray(at, at + size));
    at += Math.max(size, 1);
  }
  return text;
}

/** Bytes of the character at `at`; 0 if there is none. */
function sequenceSize(bytes: Uint8Array, at: number): number {
  const first = bytes[at] as number;
  const size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (size === 0 || at + size > bytes.length) return 0;
  try {
    decoder.decode(bytes.subarray(at, at + size));
    return size;
  } catch {
    return 0;
  }
}
