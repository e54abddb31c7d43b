/** What a writer says of a file beside its bytes, checked as every member would check it. */
import { HoldfastError, limits, pathBytes, utf8Encode } from "../base/index.ts";
import type { Init } from "../base/index.ts";
import type { Content } from "../blob/index.ts";
import type { FileContent } from "../view/index.ts";

export interface FileAttributes {
  /** At most 255 characters. Nobody guesses one: the default is none. */
  readonly contentType?: string | undefined;
  /** Names and values together at most `limits.fileMetadataSizeMax` bytes of UTF-8, the content type counted in. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** 12 permission bits. */
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  /** When the contents were last changed, milliseconds or nanoseconds since the Unix epoch; give one of them. */
  readonly modifiedMs?: number | undefined;
  readonly modifiedNs?: bigint | undefined;
}

/** What a tree of a file system keeps of a file so that it knows it again; see `FileStat`. */
export interface FileIdentity {
  readonly changedNs?: bigint | undefined;
  readonly device?: bigint | undefined;
  readonly inode?: bigint | undefined;
  readonly linkGroup?: bigint | undefined;
}

type ContentInit = Init<typeof FileContent>;

/** Bytes as they were uploaded. */
export type SealedContent = Content & {
  /** What vouches for them in an encrypted bucket. */
  readonly seal?: Uint8Array | undefined;
};

/** A file with these bytes. `invalid` when an attribute is over a limit. */
export function fileContent(content: SealedContent, attributes: FileAttributes & FileIdentity = {}): ContentInit {
  const { size, hash, depth, inline, seal } = content;
  return { type: "file", size, hash, depth, inline, seal, ...checked(attributes) };
}

export function folderContent(attributes: FileAttributes & FileIdentity = {}): ContentInit {
  return { type: "folder", ...checked(attributes) };
}

/** A symbolic link. `target` is any text; lone surrogates stand for bytes as in a path. */
export function linkContent(target: string | Uint8Array, attributes: FileAttributes & FileIdentity = {}): ContentInit {
  const bytes = typeof target === "string" ? pathBytes(target) : target.slice();
  if (bytes.length === 0) throw new HoldfastError("invalid", "the target of a link is empty; it names something");
  checkSize("the target of the link", bytes.length, "linkTargetSizeMax");
  return { type: "link", target: bytes, ...checked(attributes) };
}

function checkSize(what: string, size: number, name: "linkTargetSizeMax" | "fileMetadataSizeMax"): void {
  if (size <= limits[name]) return;
  const limit = `the limit is ${limits[name].toLocaleString("en")} (limits.${name})`;
  throw new HoldfastError("invalid", `${what} is ${size.toLocaleString("en")} bytes; ${limit}`);
}

function checked(attributes: FileAttributes & FileIdentity): ContentInit {
  const { mode, uid, gid, changedNs, device, inode, linkGroup } = attributes;
  checkNumber("mode", mode, 0o7777);
  checkNumber("uid", uid, 0xffff_ffff);
  checkNumber("gid", gid, 0xffff_ffff);
  const modifiedNs = modified(attributes);
  return { ...described(attributes), mode, uid, gid, modifiedNs, changedNs, device, inode, linkGroup };
}

function described({ contentType = "", metadata = {} }: FileAttributes): Pick<ContentInit, "contentType" | "metadata"> {
  if (typeof contentType !== "string" || contentType.length > 255 || /[^\x20-\x7e]/.test(contentType)) {
    throw new HoldfastError("invalid", "contentType is text of at most 255 printable ASCII characters: text/plain");
  }
  let size = contentType.length;
  const entries = Object.entries(metadata).map(([name, value]) => {
    if (typeof value !== "string" || !name.isWellFormed() || !value.isWellFormed()) {
      throw new HoldfastError("invalid", `the value of metadata ${JSON.stringify(name)} is no well-formed text`);
    }
    size += utf8Encode(name).length + utf8Encode(value).length;
    return { name, value };
  });
  checkSize("the metadata", size, "fileMetadataSizeMax");
  return { contentType, metadata: entries.toSorted((a, b) => (a.name < b.name ? -1 : 1)) };
}

function checkNumber(name: string, value: number | undefined, max: number): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= 0 && value <= max)) return;
  throw new HoldfastError("invalid", `${name} is ${String(value)}; it is a whole number from 0 to ${max}`);
}

function modified({ modifiedMs, modifiedNs }: FileAttributes): bigint | undefined {
  if (modifiedNs !== undefined) {
    if (typeof modifiedNs === "bigint" && BigInt.asIntN(64, modifiedNs) === modifiedNs) return modifiedNs;
    throw new HoldfastError("invalid", `modifiedNs is ${String(modifiedNs)}; it is a bigint that fits 64 bits`);
  }
  if (modifiedMs === undefined) return undefined;
  const ns = Number.isFinite(modifiedMs) ? BigInt(Math.round(modifiedMs * 1_000)) * 1_000n : undefined;
  if (ns !== undefined && BigInt.asIntN(64, ns) === ns) return ns;
  throw new HoldfastError("invalid", `modifiedMs is ${String(modifiedMs)}; it is milliseconds since the Unix epoch`);
}
