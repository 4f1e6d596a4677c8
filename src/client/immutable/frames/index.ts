export { COMPRESSIONS, type Compression, checkCompression } from './codec.js';
export { readCoded } from './coded-reader.js';
export { CodedWriter } from './coded-writer.js';
export {
  type Coding,
  joinedContents,
  type StoredContent,
  slotBytes,
  type WriteCoding,
} from './coding.js';
export { streamMaxBytes } from './layout.js';
