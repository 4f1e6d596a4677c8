/** Everything asked of the operating system on the data path: see types.ts. */

export { formatTcp, parseAddress } from './address.js';
export { crc32c, crc32cAgrees } from './crc32c.js';
export { type CreateIoOptions, createIo } from './create.js';
export {
  type DescriptorListener,
  DescriptorSocket,
  EventFd,
  listenDescriptors,
  ReadableWatch,
  type Received,
} from './descriptors.js';
export { type DirectoryLock, lockDirectory } from './lock.js';
export { Mapping, mapAnonymous, mapDescriptor } from './mapping.js';
export { heapMemory, type Memory, type Releasable, SliceList } from './memory.js';
export { BufferPool, LARGEST_BUFFER_BYTES, PoolBuffer } from './pool.js';
export { PoolAccount } from './pool-account.js';
export { type PoolShareLimits, PoolShares, type Shareholder } from './pool-shares.js';
export {
  type Address,
  type BatchTask,
  FileOp,
  type FileOpOwner,
  type FrameHandler,
  type Io,
  type IoFile,
  type Listener,
  type OpenOptions,
  type Stream,
} from './types.js';
