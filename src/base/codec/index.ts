/** The codec: message schemas as values, in the Protocol Buffers wire format. */
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
  optional,
  repeated,
  sint32,
  sint64,
  string,
  uint32,
  uint64,
  uint64Big,
} from "./field.ts";
export type { Field, MessageType, ProtoType } from "./field.ts";
export { message, oneOf, toProto } from "./message.ts";
export type { Infer, Init, Message, OneOf } from "./message.ts";
export { Reader } from "./reader.ts";
export { Writer } from "./writer.ts";
