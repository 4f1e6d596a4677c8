export { type CatalogChange, CatalogClient, fitsRow, type Row, stillGone } from './catalog.js';
export type { Collected } from './collector.js';
export { type ContentHash, joinedHash } from './content-hash.js';
export { cut, type Extent, extentSchema, joined, lengthOf } from './extent.js';
export {
  COMPRESSIONS,
  type Coding,
  type Compression,
  checkCompression,
  joinedContents,
  type WriteCoding,
} from './frames/index.js';
export type { Grid } from './grid.js';
export type { Checkpoint, Recovered } from './journal/index.js';
export type { ContentSink } from './place.js';
export { exchanged, references } from './references.js';
export { ImmutableStore, type NamedContent } from './store.js';
export type { ImmutableLayout } from './written-object.js';
