import { type Batch, runBatch } from './seeds.js';

/** A process that runs the batches it is sent. */
process.on('message', (batch) => {
  runBatch(batch as Batch).then((done) => process.send!(done));
});
process.on('disconnect', () => process.exit());
