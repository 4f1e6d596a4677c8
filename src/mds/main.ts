#!/usr/bin/env node
import { main, RAWSTOR_MDS } from '../cli/index.js';

await main(RAWSTOR_MDS);
