#!/usr/bin/env node
import { main, RAWSTOR_NBD } from '../cli/index.js';

await main(RAWSTOR_NBD);
