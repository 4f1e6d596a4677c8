/** Everything asked of the operating system on the data path: see types.ts. */

export { formatTcp, parseAddress } from './address.js';
export { crc32c, crc32cAgrees } from './crc32c.js';
export { type CreateIoOptions, createIo } from './create.js';
export {
  closeDescriptor,
  createMemfd,
  type DescriptorListener,
  DescriptorSocket,
  EventFd,
  listenDescriptors,
  listenOn,
  ReadableWatch,
} from './descriptors.js';
export { isMediumError } from './errno.js';
export { closeForeign, type ForeignFile, foreignFile } from './foreign.js';
export { removeStaleSocket } from './listen.js';
export { type DirectoryLock, lockDirectory } from './lock.js';
export { Mapping, mapAnonymous, mapDescriptor, mapShared, tornPages } from './mapping.js';
export { heapMemory, type Memory, type Releasable, SliceList } from './memory.js';
export { MemoryShare, MemoryShares } from './memory-shares.js';
export { type MessageDevice, openMessageDevice } from './message-device.js';
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
