/** `blob`: immutable bytes by hash. The `BlobStore` contract, its memory and pack implementations, blobs elsewhere. */
export { BlobFetcher } from "./fetcher.ts";
export type { FetcherOptions, WantedBlob } from "./fetcher.ts";
export type { CollectableStore, Marking, Swept } from "./collection.ts";
export type {
  ChunkPipeline,
  ChunkSettings,
  ChunkSink,
  Content,
  ContentWriter,
  GatheredContent,
  WrittenContent,
  WrittenFile,
} from "./pipeline.ts";
export type { BlobStore, ChunkStore, Hash, NamedBlob, StoredBlob } from "./store.ts";
export { Chunker, checkChunkSizes, chunkSizeBounds, defaultChunkSizes } from "./chunker.ts";
export type { ChunkSizes } from "./chunker.ts";
export { ChunkCiphers, sealedOverhead } from "./chunk-cipher.ts";
export { ChunkCutter } from "./chunk-cutter.ts";
export { ChunkMaker, openChunk, openInline } from "./chunk-maker.ts";
export type { MadeChunk } from "./chunk-maker.ts";
export { contentDepthMax, decodeChunkList } from "./content.ts";
export type { ContentChild } from "./content.ts";
export { ContentAssembler, inlineContent } from "./content-assembler.ts";
export type { MakeChunks } from "./content-assembler.ts";
export { gatherContent, locateChunks, openGathered, readContent } from "./content-reader.ts";
export type { ContentSource, LocatedChunk, ReadContentOptions } from "./content-reader.ts";
export { ContentWalker } from "./content-walker.ts";
export type { WalkerOptions } from "./content-walker.ts";
export { PlainPipeline } from "./plain-pipeline.ts";
export { MemoryBlobStore } from "./memory-store.ts";
export { Pace } from "./pace.ts";
export type { PackOptions } from "./pack-state.ts";
export { PackBlobStore } from "./pack-store.ts";
export type { PackStatus } from "./pack-store.ts";
export type { VerifyOptions, VerifyReport } from "./pack-verifier.ts";
export { RemoteBlobs } from "./remote.ts";
export type { BlobSource, FoundBlob, SourceOptions } from "./remote.ts";
export { ChunkService, chunkService, PeerChunkService } from "./chunk-service.ts";
export type { ChunkServiceOptions, ServedChunks } from "./chunk-service.ts";
export { RemoteChunks } from "./remote-chunks.ts";
export type { RemoteChunksOptions } from "./remote-chunks.ts";
export { blobService, BlobService } from "./service.ts";
export { openBlob } from "./stored-blob.ts";
