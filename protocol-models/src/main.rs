fn main(){ protocol_models::quick::main() }
