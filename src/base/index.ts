/** `base`: what every layer stands on. Bytes, codec, errors, assertions, limits, and the doors to the world. */
export { assert, AssertionError, unreachable } from "./assert.ts";
export { checkDiskPath } from "./disk-path.ts";
export { asHoldfastError, errorCodes, HoldfastError, isErrorCode } from "./errors.ts";
export type { ErrorCode, HoldfastErrorOptions } from "./errors.ts";
export { position, revision } from "./ids.ts";
export type { Position, Revision } from "./ids.ts";
export { limits } from "./limits.ts";
export type {
  Cipher,
  Clock,
  Connection,
  ConnectionHandlers,
  Determinism,
  Digest,
  Disk,
  DiskFile,
  DiskLock,
  Env,
  Listener,
  Logger,
  Net,
  Random,
  Timer,
} from "./doors.ts";
export { pathBytes, pathText, temporaryPrefix } from "./file-system.ts";
export type { FileAttributes, FileStat, FileSystem, FolderEntry, OpenedFile, WritableFile } from "./file-system.ts";
export { abortable, abortError, deferred, giveWay, isAborted, Signal, sleep, throwIfAborted } from "./async.ts";
export type { Deferred } from "./async.ts";
export { pieces } from "./pieces.ts";
export {
  compareBytes,
  concatBytes,
  emptyBytes,
  equalBytes,
  fromHex,
  prefixEnd,
  readUint32BE,
  readUint32LE,
  readUint64BE,
  readUint64LE,
  startsWith,
  toHex,
  utf8Decode,
  utf8Encode,
  writeUint32BE,
  writeUint32LE,
  writeUint64BE,
  writeUint64LE,
} from "./bytes.ts";
export {
  bool,
  bytes,
  double,
  embed,
  enumeration,
  fixed32,
  fixed64Big,
  float,
  int32,
  int64,
  int64Big,
  message,
  oneOf,
  optional,
  Reader,
  repeated,
  sint32,
  sint64,
  string,
  toProto,
  uint32,
  uint64,
  uint64Big,
  Writer,
} from "./codec/index.ts";
export type { Field, Infer, Init, Message, MessageType, OneOf, ProtoType } from "./codec/index.ts";
