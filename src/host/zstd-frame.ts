/**
 * Where a zstd frame ends (RFC 8878, section 3.1.1), found by walking its block headers without decompressing anything.
 *
 * It makes sure that the bytes are one whole frame and nothing else: Node.js passes over bytes behind a frame, and some
 * of its releases take a frame that was cut off for a short one.
 */

/** 0xFD2FB528, little-endian. */
const magic = [0x28, 0xb5, 0x2f, 0xfd] as const;
const dictionaryIdSizes = [0, 1, 2, 4] as const;
const rleBlock = 1;
const reservedBlock = 3;

/** Size in bytes of the frame at the start; undefined if there is none, or it is not whole. */
export function zstdFrameSize(bytes: Uint8Array): number | undefined {
  const descriptor = bytes[4];
  if (descriptor === undefined || magic.some((byte, index) => bytes[index] !== byte)) return undefined;
  const singleSegment = (descriptor & 0x20) !== 0;
  const hasChecksum = (descriptor & 0x04) !== 0;
  // The flag is two bits: the index is below 4. Its content size takes 1 byte, not 0, in a single segment.
  const contentSizeFlag = descriptor >>> 6;
  const contentSizeSize = contentSizeFlag === 0 ? (singleSegment ? 1 : 0) : 1 << contentSizeFlag;
  let at = 5 + (singleSegment ? 0 : 1) + (dictionaryIdSizes[descriptor & 3] as number) + contentSizeSize;
  for (;;) {
    const [low, middle, high] = [bytes[at], bytes[at + 1], bytes[at + 2]];
    if (low === undefined || middle === undefined || high === undefined) return undefined;
    const type = (low >>> 1) & 3;
    if (type === reservedBlock) return undefined;
    at += 3 + (type === rleBlock ? 1 : (low | (middle << 8) | (high << 16)) >>> 3);
    if ((low & 1) !== 0) break;
  }
  if (hasChecksum) at += 4;
  return at <= bytes.length ? at : undefined;
}
