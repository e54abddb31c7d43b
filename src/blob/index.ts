/** `blob`: immutable bytes by hash. The `BlobStore` contract, its memory and pack implementations, blobs elsewhere. */
export { BlobFetcher } from "./fetcher.ts";
export type { FetcherOptions, WantedBlob } from "./fetcher.ts";
export type { BlobStore, Hash } from "./store.ts";
export { MemoryBlobStore } from "./memory-store.ts";
export type { PackOptions } from "./pack-state.ts";
export { PackBlobStore } from "./pack-store.ts";
export type { PackStatus } from "./pack-store.ts";
export type { VerifyOptions, VerifyReport } from "./pack-verifier.ts";
export { RemoteBlobs } from "./remote.ts";
export type { BlobSource, FoundBlob, SourceOptions } from "./remote.ts";
export { blobService, BlobService } from "./service.ts";
