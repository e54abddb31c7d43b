/**
 * What names, contents and settings the file view takes. Every member judges them alike when a command is applied, so a
 * rule may be loosened in a later version, and never made stricter.
 */
import { limits, utf8Encode } from "../../base/index.ts";
import type { Init } from "../../base/index.ts";
import { keyText } from "../key/key-state.ts";
import { Refusal } from "../view.ts";
import type { BucketSettings, FileContent } from "./file-operation.ts";

const hashSize = 32;
/** More levels of chunk lists than any file can have. */
const depthMax = 32;
/** What encryption adds to the bytes of a small file, at most. */
const inlineExtraMax = 64;
const contentTypeSizeMax = 255;
const encryptionSizeMax = 4_096;
const modeMax = 0o7777;
const sealSizeMax = 32;
const chunkSizeLeast = 4_096;
const chunkSizeMost = 8_388_608;

/** How a bucket keeps its files when nobody has said it. */
export const defaultBucketSettings: BucketSettings = {
  chunkSizeMin: 0,
  chunkSizeAverage: 0,
  chunkSizeMax: 0,
  uncompressed: false,
  keepMs: 7 * 86_400_000,
  keepCountMax: 1_000,
  encryption: new Uint8Array(0),
};

/** What a chunk size of 0 stands for. */
const defaultSizes = { min: 131_072, average: 524_288, max: 2_097_152 };

function invalid(message: string): Refusal {
  return new Refusal("invalid", message);
}

export function checkBucket(name: string): Refusal | undefined {
  if (name.length <= limits.nameSizeMax && /^[a-z0-9][a-z0-9._-]*$/.test(name)) return undefined;
  const shown = JSON.stringify(name.slice(0, 64));
  return invalid(
    `${shown} is no name of a bucket: 1 to ${limits.nameSizeMax} of a-z, 0-9, ".", "_" and "-", beginning with a letter or a digit`,
  );
}

export function checkPath(path: Uint8Array): Refusal | undefined {
  if (path.length === 0) return invalid("the path is empty; a path has at least one byte");
  return checkPrefix(path);
}

/** Of a path's beginning, which may be empty. */
export function checkPrefix(path: Uint8Array): Refusal | undefined {
  if (path.length > limits.filePathSizeMax) {
    return invalid(
      `path ${keyText(path)} is ${path.length} bytes; the limit is ${limits.filePathSizeMax} (limits.filePathSizeMax)`,
    );
  }
  return path.includes(0) ? invalid(`path ${keyText(path)} has a zero byte; no path may`) : undefined;
}

/** `encrypted`: whether the bucket is. */
export function checkContent(content: Init<typeof FileContent>, encrypted: boolean): Refusal | undefined {
  const { type = "file", mode = 0, seal = noBytes } = content;
  if (mode > modeMax) return invalid(`mode ${mode.toString(8)} has more than the 12 permission bits`);
  if (seal.length > sealSizeMax) return invalid(`the seal is ${seal.length} bytes; the limit is ${sealSizeMax}`);
  const refused = checkDescription(content);
  if (refused !== undefined) return refused;
  return type === "file" ? checkBytes(content, encrypted) : checkNoBytes(content, type);
}

function checkDescription({ contentType = "", metadata = [] }: Init<typeof FileContent>): Refusal | undefined {
  if (contentType.length > contentTypeSizeMax) {
    return invalid(`the content type has ${contentType.length} characters; the limit is ${contentTypeSizeMax}`);
  }
  let size = utf8Encode(contentType).length;
  let last: string | undefined;
  for (const { name = "", value = "" } of metadata) {
    if (last !== undefined && name <= last) {
      return invalid(
        `metadata ${JSON.stringify(name.slice(0, 64))} is out of order or there twice; sort it by its names`,
      );
    }
    last = name;
    size += utf8Encode(name).length + utf8Encode(value).length;
  }
  if (size <= limits.fileMetadataSizeMax) return undefined;
  return invalid(
    `the metadata is ${size} bytes; the limit is ${limits.fileMetadataSizeMax} (limits.fileMetadataSizeMax): keep it in a file of its own`,
  );
}

const noBytes = new Uint8Array(0);

function checkBytes(content: Init<typeof FileContent>, encrypted: boolean): Refusal | undefined {
  const { size = 0, hash = noBytes, depth = 0, inline = noBytes, target = noBytes } = content;
  if (target.length > 0) return invalid("a file has no target; only a link has");
  if (hash.length > 0) {
    if (hash.length !== hashSize)
      return invalid(`the root of the chunks is ${hash.length} bytes; a hash has ${hashSize}`);
    if (depth > depthMax) return invalid(`the chunks are under ${depth} levels of lists; there are never so many`);
    if (inline.length > 0) return invalid("the bytes of a file are in chunks or in its entry, not in both");
    return size > 0 ? undefined : invalid("a file of no bytes has no chunks; leave the hash out");
  }
  if (depth > 0) return invalid("a file without chunks has no levels of chunk lists; leave the depth out");
  if (size > limits.inlineFileSizeMax || inline.length > limits.inlineFileSizeMax + inlineExtraMax) {
    return invalid(
      `a file of ${Math.max(size, inline.length)} bytes does not fit its entry; the limit is ${limits.inlineFileSizeMax} (limits.inlineFileSizeMax): store it as chunks`,
    );
  }
  if (encrypted || inline.length === size) return undefined;
  return invalid(`the file is said to have ${size} bytes, and comes with ${inline.length}`);
}

function checkNoBytes(content: Init<typeof FileContent>, type: "folder" | "link"): Refusal | undefined {
  const { size = 0, hash = noBytes, depth = 0, inline = noBytes, target = noBytes } = content;
  if (size > 0 || hash.length > 0 || depth > 0 || inline.length > 0) {
    return invalid(`a ${type} has no bytes; leave size, hash, depth and inline out`);
  }
  if (type === "folder") {
    return target.length === 0 ? undefined : invalid("a folder has no target; only a link has");
  }
  if (target.length > 0 && target.length <= limits.linkTargetSizeMax) return undefined;
  return invalid(
    `the target of the link is ${target.length} bytes; it has 1 to ${limits.linkTargetSizeMax} (limits.linkTargetSizeMax)`,
  );
}

export function checkSettings(settings: BucketSettings): Refusal | undefined {
  const least = settings.chunkSizeMin === 0 ? defaultSizes.min : settings.chunkSizeMin;
  const average = settings.chunkSizeAverage === 0 ? defaultSizes.average : settings.chunkSizeAverage;
  const most = settings.chunkSizeMax === 0 ? defaultSizes.max : settings.chunkSizeMax;
  if (least < chunkSizeLeast || average < least || most < average || most > chunkSizeMost) {
    return invalid(
      `chunks of ${least}, on average ${average}, at most ${most} bytes: sizes rise from at least ${chunkSizeLeast} to at most ${chunkSizeMost}`,
    );
  }
  if (settings.encryption.length <= encryptionSizeMax) return undefined;
  return invalid(
    `what is said of the bucket's encryption is ${settings.encryption.length} bytes; the limit is ${encryptionSizeMax}`,
  );
}
